"""An MLflow that is not there, never answers or dies costs a sweep one line and none of its files.

Everything is real: a port that nobody listens on, a socket that accepts and says nothing, and a
`mlflow server` that is killed. The timeouts are far above what a run takes, far below MLflow's own
retries (minutes).
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.ledgers import old_quickstart
from helpers.mlflow_servers import MlflowServer, mlflow_server
from helpers.small_sweeps import environment
from helpers.trials import make_dense, make_trial, write_sweep
from mlflow.tracking import MlflowClient

from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.track.mirroring import MirrorThread

ENOUGH_SECONDS = 150
FILES = ("frontier.csv", "frontier.json", "frontier.md", "frontier.png", "report.html")


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that refuses: it is bound, so that nobody else takes it, and nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts every connection, and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        yield listening.getsockname()[1]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    """MLflow's server, up."""
    (tmp_path / "server").mkdir()
    database = f"sqlite:///{tmp_path / 'server' / 'mlflow.db'}"
    with mlflow_server(tmp_path / "server", database, environment()) as server:
        yield server


def run_quickstart(storage: Path, uri: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`prunesweep run` of a sweep that is done but for the files and MLflow."""
    old_quickstart(storage)
    command = [sys.executable, "-m", "sweeps.engine.cli", "run", "quickstart"]
    command += ["--storage", str(storage), "--tracking-uri", uri]
    return subprocess.run(
        command, env=environment() | more, capture_output=True, text=True, timeout=ENOUGH_SECONDS,
        check=False,
    )  # fmt: skip


def check_one_line(done: subprocess.CompletedProcess[str], storage: Path, uri: str) -> None:
    assert done.returncode == 0, done.stderr
    for name in FILES:
        assert (storage / "quickstart" / name).stat().st_size > 0, name
    assert "0 jobs in this run" in done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"MLflow at {uri} could not be written (")
    assert "prunesweep run" in line, "how to mirror it later"
    assert "prunesweep ui" not in done.stdout, "there is nothing to look at"


def test_nobody_listens(tmp_path: Path, dead_port: int) -> None:
    uri = f"http://127.0.0.1:{dead_port}"
    done = run_quickstart(tmp_path, uri)
    check_one_line(done, tmp_path, uri)
    assert "Connection refused" in done.stderr


def test_nobody_answers(tmp_path: Path, silent_port: int) -> None:
    uri = f"http://127.0.0.1:{silent_port}"
    done = run_quickstart(tmp_path, uri, MLFLOW_HTTP_REQUEST_TIMEOUT="3")  # the user's own
    check_one_line(done, tmp_path, uri)
    assert "timed out" in done.stderr


def test_a_password_is_not_shown(tmp_path: Path, dead_port: int) -> None:
    done = run_quickstart(tmp_path, f"http://me:secret@127.0.0.1:{dead_port}")
    check_one_line(done, tmp_path, f"http://me:***@127.0.0.1:{dead_port}")
    assert "secret" not in done.stdout + done.stderr


def test_a_call_that_hangs_is_left_behind(
    tmp_path: Path, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever MLflow was told: here to wait for an hour, as a dead database does by itself."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3600")
    told: list[str] = []
    mirror = mirror_of(tmp_path, f"http://127.0.0.1:{silent_port}", told)
    mirror.patience_seconds = 1.0
    mirror.wake()
    mirror.finish([])
    assert mirror.error == "no answer within 1 s"
    assert told == [], "nothing failed before the end"


def test_a_server_that_dies_and_comes_back(tmp_path: Path, server: MlflowServer) -> None:
    uri, told = server.uri, list[str]()
    mirror = mirror_of(tmp_path, uri, told)
    mirror.wake()
    client = MlflowClient(uri)
    assert soon(lambda: trials_in(client) == {"dense", "a"})
    server.kill()

    write_sweep(tmp_path, [make_trial("b", 0.8)])
    mirror.wake()
    assert soon(lambda: len(told) == 1), "said while the sweep runs"
    assert "goes on" in told[0]
    mirror.finish([])
    assert "refused" in str(mirror.error)
    assert len(told) == 1, "not once a trial"

    server.start()
    server.wait()
    later = mirror_of(tmp_path, uri, told)  # the same command again
    later.finish([tmp_path / "demo" / "sweep.json"])
    assert later.error is None
    assert trials_in(client) == {"dense", "a", "b"}
    experiment = client.get_experiment_by_name("demo")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 4, "three trials and one parent"
    (parent,) = (run for run in runs if run.data.tags.get("role") == "parent")
    assert [item.path for item in client.list_artifacts(parent.info.run_id)] == ["sweep.json"]


def mirror_of(storage: Path, uri: str, told: list[str]) -> MirrorThread:
    if not (storage / "demo").exists():
        write_sweep(storage, [make_dense(), make_trial("a", 0.9)])
    return MirrorThread(
        Ledger(storage, "demo"), SweepSpec(name="demo", question="?"), uri, told.append
    )


def trials_in(client: MlflowClient) -> set[str]:
    """Ids of the trials that are mirrored in full."""
    experiment = client.get_experiment_by_name("demo")
    if experiment is None:
        return set()
    runs = client.search_runs([experiment.experiment_id], "tags.`prunesweep.mirrored` != ''")
    return {run.data.tags["trial_id"] for run in runs}


def soon(true: Callable[[], bool]) -> bool:
    for _ in range(240):
        if true():
            return True
        time.sleep(0.5)
    return False
