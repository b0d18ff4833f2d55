"""What the faults of `chaos` do not look at: what is said, and what a notice saves."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from helpers.jobs import owner_of, steps_of
from helpers.small_sweeps import Prunesweep, Start, wait

from sweeps.engine.run.lock import lock_holder
from trainables.common.files import read_json
from trainables.records import CHECKPOINT, RECORD, TrialRecord

pytestmark = [pytest.mark.integration, pytest.mark.slow]
POINT = {"method": "layerwise", "ratio": 0.3, "scope": "projector"}
NAME = "001-layerwise-30-projector-ce"
STEPS = 300


def test_a_trial_whose_process_is_killed_goes_on_under_another_token(
    start: Start, sweep_file: Callable[..., Path], storage: Path
) -> None:
    path = sweep_file("retried", designed=(POINT,), steps=STEPS, every=10)
    trial = storage / "retried" / "trials" / NAME
    process = start(path)
    wait(lambda: len(steps_of(trial)) > 30, process)
    first = owner_of(trial)
    psutil.Process(first["pid"]).send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.count(f"{NAME}: its process died (killed, or out of memory)") == 1
    assert "Traceback" not in output
    assert "worker died" not in output  # as Ray says it, in a screenful
    record, last = read_json(trial / RECORD, TrialRecord), owner_of(trial)
    assert record.status == "completed"
    assert record.recovery is not None
    assert record.recovery.resumed_at_step is not None
    assert record.recovery.resumed_at_step >= 30
    assert steps_of(trial) == list(range(STEPS))
    assert record.provenance.attempt != first["attempt"]
    assert last["pid"] != first["pid"]


def test_a_notice_before_the_end_loses_nothing(
    start: Start, sweep_file: Callable[..., Path], prunesweep: Prunesweep, storage: Path
) -> None:
    """SIGTERM: the trial keeps no checkpoints, but writes the one that it is asked for."""
    path, folder = sweep_file("noticed", designed=(POINT,), steps=STEPS), storage / "noticed"
    trial = folder / "trials" / NAME
    process = start(path)
    wait(lambda: lock_holder(folder) is not None, process)
    refused = prunesweep("run", path, code=2)  # while Ray starts up: no trial is over yet
    assert str(process.pid) in refused.stderr
    wait(lambda: len(steps_of(trial)) > 30, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same command goes on from here" in output
    assert list(Path("/tmp/ray").glob(f"session_*_{process.pid}")) == [], "Ray's logs go with it"
    assert lock_holder(folder) is None
    assert not (trial / RECORD).exists(), "it was over before the notice"
    assert (trial / CHECKPOINT).exists()
    prunesweep("run", path)
    record = read_json(trial / RECORD, TrialRecord)
    assert record.recovery is not None
    assert (record.recovery.resumed_at_step or 0) > 30
    assert steps_of(trial) == list(range(STEPS))


def test_a_ray_that_does_not_start_is_told_in_one_line(
    sweep_file: Callable[..., Path],
    prunesweep: Prunesweep,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nothing")
    said = prunesweep("run", sweep_file("unstarted"), code=2).stderr
    assert "error: Ray did not start on this machine" in said
    assert "Traceback" not in said
    assert not list((storage / "unstarted").glob("trials/*/record.json"))
