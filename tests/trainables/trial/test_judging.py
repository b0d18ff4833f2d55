"""What a worker group reports at a rung reaches the trial's process, and the answer comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import make_spec, start_job

from trainables.common.attempts import claim_within
from trainables.common.files import write_json
from trainables.records import RECORD
from trainables.trial.jobs import TrialJob
from trainables.trial.judging import REPORTED, VERDICT, judged, report_from_group

METRICS = {"kind": "rung", "rung": 0, "retention": 0.5}


@pytest.fixture
def job(tmp_path: Path) -> TrialJob:
    return start_job(tmp_path / "t", make_spec())


def _in_group(job: TrialJob, rung: int = 0) -> Callable[[], bool]:
    """A worker of another process, as far as the files go; returns whether it goes on."""
    start = job.model_copy(update={"attempt": claim_within(job.folder, job.attempt)})
    came_out: list[object] = []

    def work() -> None:
        try:
            report_from_group(start, rung, METRICS | {"rung": rung})
            came_out.append("goes on")
        except SystemExit as stop:
            came_out.append(stop.code)

    thread = threading.Thread(target=work)
    thread.start()

    def end() -> bool:
        thread.join(timeout=60)
        assert came_out, "the worker still waits"
        assert came_out[0] in ("goes on", 0), "another code is an error to Tune"
        return came_out[0] == "goes on"

    return end


def test_it_goes_on_past_two_rungs(job: TrialJob) -> None:
    heard: list[dict[str, Any]] = []
    with judged(job, heard.append):
        assert _in_group(job)()
        assert _in_group(job, rung=1)()
    assert heard == [METRICS, METRICS | {"rung": 1}]
    assert not any((job.folder / name).exists() for name in (REPORTED, VERDICT))


def test_a_stop_ends_the_group_first_and_then_the_trial(job: TrialJob) -> None:
    def stop(_: dict[str, Any]) -> None:
        raise SystemExit(0)

    ended: list[bool] = []
    with pytest.raises(SystemExit) as raised, judged(job, stop):
        ended.append(_in_group(job)())
    assert ended == [False]
    assert raised.value.code == 0


def test_the_scheduler_s_record_stops_the_group_though_tune_still_waits(job: TrialJob) -> None:
    """Tune lets a stopped report go only when its process is to take the next trial."""
    released, stopped_before = threading.Event(), list[bool]()

    def report(_: dict[str, Any]) -> None:
        write_json(job.folder / RECORD, {"status": "early_stopped"})
        released.wait(60)
        raise SystemExit(0)

    def group() -> None:
        stopped_before.append(not _in_group(job)() and not released.is_set())
        released.set()

    with pytest.raises(SystemExit), judged(job, report):
        group()
    assert stopped_before == [True]


def test_what_another_attempt_left_is_neither_reported_nor_taken_for_an_answer(
    job: TrialJob,
) -> None:
    heard: list[dict[str, Any]] = []
    old = {"attempt": "old.1", "rung": 0}
    write_json(job.folder / REPORTED, old | {"metrics": {"rung": 7}})
    write_json(job.folder / VERDICT, old | {"goes_on": False})
    with judged(job, heard.append):
        assert _in_group(job)()
    assert heard == [METRICS]


def test_a_report_that_fails_ends_the_trial_with_its_error(job: TrialJob) -> None:
    def fail(_: dict[str, Any]) -> None:
        raise RuntimeError("Tune is gone")

    with pytest.raises(RuntimeError, match="Tune is gone"), judged(job, fail):
        assert not _in_group(job)()
