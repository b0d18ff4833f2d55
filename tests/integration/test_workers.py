"""A worker group of two with ZeRO-2, a driver's niceness, and a machine without a compiler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.small_sweeps import DESIGNED, Prunesweep, environment
from safetensors.torch import load_file

from trainables.common.files import read_json
from trainables.records import TrialRecord

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def _records(folder: Path) -> dict[str, TrialRecord]:
    paths = folder.glob("trials/*/record.json")
    return {p.parent.name: read_json(p, TrialRecord) for p in paths}


def test_two_workers_with_zero_2_train_like_one(
    swept: Any, prunesweep: Prunesweep, sweep_file: Callable[..., Path], storage: Path
) -> None:
    """Same global batch, two data-parallel workers: the trained tensors agree to float error."""
    prunesweep("run", sweep_file("pair", designed=DESIGNED[:1], workers=2))
    name = "001-layerwise-30-joint-ce+reverse_kl+l2"
    one, two = (_records(storage / sweep)[name] for sweep in ("small", "pair"))
    assert one.status == two.status == "completed", two.error
    assert one.recovery is not None
    assert two.recovery is not None
    assert two.cost is not None
    assert two.cost.devices == 2
    assert (one.recovery.steps, one.recovery.tokens) == (two.recovery.steps, two.recovery.tokens)
    assert one.recovery.first_terms == pytest.approx(two.recovery.first_terms, rel=1e-4)
    tensors = [
        load_file(storage / sweep / "trials" / name / "recovered.safetensors")
        for sweep in ("small", "pair")
    ]
    for key, value in tensors[0].items():
        assert float((value - tensors[1][key]).abs().max()) < 5e-4, key


NICENESS = """
import os, sys
from pathlib import Path
from sweeps.engine.run.cluster import ray_for
from sweeps.quickstart import sweep
os.nice(3)
with ray_for(sweep, Path(sys.argv[1]), None):
    import ray
    print(os.nice(0), ray.get(ray.remote(lambda: os.nice(0)).remote()))
"""


def test_workers_run_at_the_drivers_own_niceness(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NICENESS, str(tmp_path)], capture_output=True, text=True,
        env=environment(), timeout=300, check=True,
    )  # fmt: skip
    driver, worker = map(int, done.stdout.split())
    assert worker == driver >= 3


TRIAL = """
import sys
from pathlib import Path
from trainables.trial.compress import compress
from trainables.trial.jobs import TrialJob
from trainables.common.attempts import claim
from trainables.common.process_group import fresh_single_process_group
from trainables.specs import *

folder, store = Path(sys.argv[1]), Path(sys.argv[2])
spec = TrialSpec(
    pruning=PruningSpec(ratio=0.3, importance=ImportanceSpec(samples=8)),
    recovery=RecoverySpec(scope="joint", budget=Budget(steps=2), data_fraction=0.02),
    evaluation=EvaluationSpec(search_limit=10),
)
fresh_single_process_group()
claim(folder, "a")
record = compress(TrialJob(trial_id="t", sweep="s", origin="designed", spec=spec, folder=folder,
                           store=store, attempt="a"))
assert record is not None and record.recovery.steps == 2
"""


def test_a_trial_without_anything_on_the_path(storage: Path, tmp_path: Path) -> None:
    """DeepSpeed would build an op with ninja and g++; here the PATH is empty.

    A whole trial, but without Ray, whose raylet itself needs a shell to start workers.
    """
    extensions = tmp_path / "extensions"
    empty = {**environment(), "PATH": "", "TORCH_EXTENSIONS_DIR": str(extensions)}
    (tmp_path / "trial").mkdir()
    command = [sys.executable, "-c", TRIAL, str(tmp_path / "trial"), str(storage / "store")]
    done = subprocess.run(
        command, capture_output=True, text=True, env=empty, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "trial" / "recovered.safetensors").exists()
    assert not list(extensions.rglob("*.so"))
