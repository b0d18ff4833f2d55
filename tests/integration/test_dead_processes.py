"""A process of Ray or of a trial is killed while the driver lives."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from helpers.jobs import owner_of, steps_of
from helpers.small_sweeps import Prunesweep, Start, wait

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
    path = sweep_file("noticed", designed=(POINT,), steps=STEPS)
    trial = storage / "noticed" / "trials" / NAME
    process = start(path)
    wait(lambda: len(steps_of(trial)) > 30, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same command goes on from here" in output
    assert not (trial / RECORD).exists(), "it was over before the notice"
    assert (trial / CHECKPOINT).exists()
    prunesweep("run", path)
    record = read_json(trial / RECORD, TrialRecord)
    assert record.recovery is not None
    assert (record.recovery.resumed_at_step or 0) > 30
    assert steps_of(trial) == list(range(STEPS))


@pytest.mark.parametrize(("server", "said"), [("raylet", "the raylet"), ("gcs_server", "its GCS")])
def test_a_run_whose_ray_dies_ends_with_one_line_and_goes_on(
    server: str,
    said: str,
    start: Start,
    sweep_file: Callable[..., Path],
    prunesweep: Prunesweep,
    storage: Path,
) -> None:
    path = sweep_file(f"dead_{server}", designed=(POINT,), steps=STEPS, every=10)
    folder = storage / f"dead_{server}"
    trial = folder / "trials" / NAME
    process = start(path)
    wait(lambda: len(steps_of(trial)) > 30, process)
    ray = psutil.Process(process.pid).children(recursive=True)
    (victim,) = [child for child in ray if child.name() == server]
    victim.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == 1, output
    last = output.strip().splitlines()[-1]
    assert said in last
    assert "the same command goes on from here" in last
    assert "Traceback" not in output
    # Ray's own two agents notice the death of the GCS by themselves, after more than a minute.
    trials = [child for child in ray if child.pid == owner_of(trial)["pid"]]
    assert len(trials) == 1
    _, left = psutil.wait_procs(trials, timeout=60)
    # Where no init reaps orphans, as in some containers, a dead one stays as a zombie.
    alive = [process for process in left if process.status() != psutil.STATUS_ZOMBIE]
    assert not alive, "the trial's process outlives the run"
    before = {p: p.stat().st_mtime_ns for p in folder.glob(f"trials/*/{RECORD}")}
    assert [p.parent.name for p in before] == ["dense"]
    prunesweep("run", path)
    assert {p: p.stat().st_mtime_ns for p in before} == before, "what was finished is not redone"
    assert steps_of(trial) == list(range(STEPS))
    record = read_json(trial / RECORD, TrialRecord)
    assert record.recovery is not None
    assert (record.recovery.resumed_at_step or 0) >= 30
