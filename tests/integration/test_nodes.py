"""What the nodes of a cluster or its callers lack is named before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.question_files import draw, rows, write
from helpers.ray_clusters import ray_cluster
from helpers.small_sweeps import Prunesweep, environment

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# Two nodes of this machine see the same files, so each lacks what the driver says it needs.
ASKED = """
import sys
from pathlib import Path
import ray
from sweeps.engine.run import nodes
from sweeps.engine.run.cluster import ray_for
from sweeps.engine.spec.loading import BadInputError
from sweeps.quickstart import sweep

storage, address = Path(sys.argv[1]), sys.argv[2]

def said(sweep=sweep):
    try:
        with ray_for(sweep, storage, address):
            return "nothing"
    except BadInputError as error:
        return str(error)

print(said())
model = sweep.trial.model.model_copy(update={"path": "model"})  # nodes run in another folder
print(said(sweep.model_copy(update={"trial": sweep.trial.model_copy(update={"model": model})})))
whole, nodes.PACKAGES = nodes.PACKAGES, ("torch", "no_such_package")
print(said())
nodes.PACKAGES, ray.__version__ = whole, "1.0.0"
print(said())
"""


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[str]:
    """The address of a Ray cluster of two nodes with one CPU each, on this machine."""
    with ray_cluster(1, 1) as address:
        yield address


def test_what_a_node_lacks_is_named(two_nodes: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ASKED, str(tmp_path), two_nodes], capture_output=True, text=True,
        env=environment() | {"PYTHONPATH": str(Path(__file__).parents[2])}, cwd=tmp_path,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    whole, model, packages, versions = done.stdout.splitlines()
    assert whole == "nothing"
    assert model.startswith("2 of 2 nodes do not see trial.model.path=model (")
    assert packages.startswith("2 of 2 nodes lack packages that trials import (")
    assert packages.count("no_such_package") == 2
    assert "torch" not in packages
    assert "runs other versions than this process" in versions
    assert "Ray: 1.0.0" in versions


def test_a_file_that_nodes_do_not_find_is_named_before_a_trial_starts(
    two_nodes: str,
    prunesweep: Prunesweep,
    sweep_file: Callable[..., Path],
    storage: Path,
    tmp_path: Path,
) -> None:
    draw(tmp_path)
    path = os.path.relpath(write(tmp_path, rows()))  # nodes run in another folder
    own = ("--set", f"trial.evaluation.tasks=[{path}]")
    done = prunesweep("run", sweep_file("far"), "--address", two_nodes, *own, code=2)
    assert f"2 of 2 nodes do not see trial.evaluation.tasks={path}" in done.stderr
    assert not list((storage / "far" / "trials").glob("*/record.json"))


def test_a_cluster_that_wants_its_token_says_so(
    prunesweep: Prunesweep, sweep_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 32}
    path = sweep_file("guarded")
    with ray_cluster(1, **own) as address:
        for change, said in (
            ({"RAY_AUTH_TOKEN": "b" * 32}, "this process has another one"),
            ({"RAY_AUTH_MODE": "disabled"}, "this process shows none"),
        ):
            for name, value in (own | change).items():
                monkeypatch.setenv(name, value)
            done = prunesweep("run", path, "--address", address, code=2)
            assert f"the cluster at {address!r} wants its token, and {said}" in done.stderr
            assert len(done.stderr.splitlines()) == 1, done.stderr
