"""Two processes that run one trial at once: whoever started last writes, the other is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from helpers.jobs import few_steps, make_job, make_spec, owner_of, steps_of

from trainables.common.attempts import LOCK
from trainables.common.files import read_json
from trainables.records import RECORD, TrialRecord
from trainables.specs import EvaluationSpec

STEPS = 12
PROCESS = """
import json, sys
from trainables.trial.launch import run_job

print(json.dumps(run_job(json.loads(sys.argv[1]))))
"""
Start = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a process on the same plain job, as a retry by Tune does."""
    spec = make_spec(
        recovery=few_steps(STEPS, scope="joint", checkpoint_every_steps=2),
        evaluation=EvaluationSpec(search_limit=4),
    )
    folder = tmp_path / "t"
    folder.mkdir()
    plain = make_job(folder, spec, attempt="").model_dump(mode="json")
    running: list[subprocess.Popen[str]] = []

    def go() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROCESS, json.dumps(plain)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running.append(subprocess.Popen(command, text=True, **pipes))
        return running[-1]

    yield go
    for process in running:
        process.kill()
        process.communicate()


def _wait(until: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    while not until():
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def _suspend(process: subprocess.Popen[str], folder: Path) -> None:
    """Stop the process, though not within a write, which a newer one would wait for."""
    while True:
        process.send_signal(signal.SIGSTOP)
        try:
            FileLock(folder / LOCK).acquire(blocking=False).lock.release()
            return
        except Timeout:
            process.send_signal(signal.SIGCONT)


def test_an_older_process_is_refused_and_the_newer_goes_on(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    older = start()
    _wait(lambda: len(steps_of(folder)) >= 5, older)
    _suspend(older, folder)  # given up, and yet it lives
    first, before = owner_of(folder), len(steps_of(folder))
    assert before < STEPS
    newer = start()
    _wait(lambda: owner_of(folder) != first, newer)
    older.send_signal(signal.SIGCONT)
    _, said = older.communicate()
    assert older.returncode != 0
    assert "is stale" in said
    answer, errors = newer.communicate()
    assert newer.returncode == 0, errors
    assert json.loads(answer)["status"] == "completed"
    assert steps_of(folder) == list(range(STEPS))
    record = read_json(folder / RECORD, TrialRecord)
    owner = owner_of(folder)
    assert owner["pid"] == newer.pid
    assert record.provenance.attempt == owner["attempt"] != first["attempt"]
    assert record.recovery is not None
    assert record.recovery.resumed_at_step in range(4, before + 1, 2)
    assert not list(folder.glob("*.part"))
