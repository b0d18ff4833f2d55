"""Whole trials in this process: what is left of them when a task crashes or they are killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.conversations import write_conversations
from helpers.jobs import few_steps, make_job, make_spec, start_job

from trainables.common.files import write_json
from trainables.common.process_group import destroy_process_group, fresh_single_process_group
from trainables.evaluation import harness
from trainables.evaluation.answering.generation import Answer, Answerer, Question
from trainables.records import (
    LOG,
    RECORD,
    REPORT_SCORES,
    RUNG,
    SEARCH_SAMPLES,
    TRAINED,
    TrialRecord,
)
from trainables.records.score_table import ScoreTable
from trainables.specs import EvaluationSpec
from trainables.trial.closing import score_report_split
from trainables.trial.compress import compress
from trainables.trial.jobs import Caches, ReportJob
from trainables.trial.launch import publish

TASKS = ("tiny_attribute", "tiny_counting", "tiny_choice")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with conversations and a store; the embedded tasks are generated once."""
    folder = tmp_path_factory.mktemp("trials")
    (folder / "images").mkdir()
    write_conversations(folder / "images", 16)
    return folder


@pytest.fixture
def trial(shared: Path, tmp_path: Path) -> Iterator[Callable[..., TrialRecord]]:
    """A function that runs a trial of the embedded model in `tmp_path`, again and again."""
    conversations = next((shared / "images").glob("*.json*"))

    def run(on_rung: Any = None, **changes: Any) -> TrialRecord:
        fresh_single_process_group()
        given: dict[str, Any] = {"tasks": TASKS, "search_limit": 7, "batch_size": 4, **changes}
        rungs, again = given.pop("rungs", ()), given.pop("again", False)
        every = given.pop("checkpoint_every_steps", None)
        recovery = few_steps(given.pop("steps", 2), scope="projector", checkpoint_every_steps=every)
        spec = make_spec(conversations, recovery, evaluation=EvaluationSpec(**given), rungs=rungs)
        caches = Caches(recovery=again)
        job = start_job(tmp_path, spec, store=shared / "store", caches=caches)
        record = compress(job, on_rung)
        assert record is not None
        return record

    yield run
    destroy_process_group()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of questions that models were asked, a task each."""
    counts: list[int] = []
    whole = Answerer.__call__

    def answer(self: Answerer, questions: Sequence[Question], *more: Any) -> list[Answer]:
        counts.append(len(questions))
        return whole(self, questions, *more)

    monkeypatch.setattr(Answerer, "__call__", answer)
    return counts


def test_a_crashed_task_fails_the_trial_and_loses_nothing_else(
    trial: Callable[..., TrialRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = harness.task_rows

    def rows(info: Any, samples: Any) -> Any:
        if info.name == "tiny_counting":
            raise KeyError("no such column")
        return whole(info, samples)

    monkeypatch.setattr(harness, "task_rows", rows)
    record = trial(search_limit=6)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.startswith("task 'tiny_counting': ")
    assert "no such column" in record.error
    assert record.evaluation is not None
    assert list(record.evaluation.tasks) == ["tiny_attribute", "tiny_choice"]
    scores = [task.score for task in record.evaluation.tasks.values()]
    assert record.evaluation.average == pytest.approx(sum(scores) / 2)
    assert list(ScoreTable.load(tmp_path / SEARCH_SAMPLES).tasks) == list(record.evaluation.tasks)
    assert (tmp_path / TRAINED).exists()
    publish(make_job(tmp_path, record.spec), record)
    monkeypatch.undo()
    (tmp_path / TRAINED).unlink()  # the next run has a folder of its own
    again = trial(search_limit=6, again=True)
    assert again.status == "completed"
    assert again.cost is not None
    assert "recover" not in again.cost.device_seconds, "it is not trained once more"
    assert again.recovery == record.recovery
    assert again.evaluation is not None
    for task, score in record.evaluation.tasks.items():
        assert again.evaluation.tasks[task] == score


@pytest.mark.slow
def test_an_evaluation_that_cannot_go_on_keeps_the_recovery(
    trial: Callable[..., TrialRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the device is lost")

    with monkeypatch.context() as patch:
        patch.setattr("trainables.trial.evaluate.score", break_down)
        with pytest.raises(RuntimeError, match="device is lost"):
            trial()
    record = trial(again=True)
    assert record.cost is not None
    assert "recover" not in record.cost.device_seconds


def test_a_trial_that_is_killed_while_scored_answers_only_what_is_missing(
    trial: Callable[..., TrialRecord],
    tmp_path: Path,
    asked: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial()  # the dense base has answered
    expected = ScoreTable.load(tmp_path / SEARCH_SAMPLES)
    assert expected.samples == 3 * 7
    noted = Answerer.__call__
    asked.clear()

    def kill(self: Answerer, questions: Sequence[Question], *more: Any) -> list[Answer]:
        if len(asked) == 2:
            raise SystemExit
        return noted(self, questions, *more)

    monkeypatch.setattr(Answerer, "__call__", kill)
    with pytest.raises(SystemExit):
        trial()
    assert asked == [7, 7]
    monkeypatch.setattr(Answerer, "__call__", noted)
    asked.clear()
    record = trial()
    assert asked == [7], "the third task"
    again = ScoreTable.load(tmp_path / SEARCH_SAMPLES)
    for task in TASKS:
        assert again.tasks[task].answers == expected.tasks[task].answers
    assert record.status == "completed"
    assert not (tmp_path / "scored").exists()
    assert "samples/s" in (tmp_path / LOG).read_text()


def test_rungs_are_judged_on_their_own_limit(
    trial: Callable[..., TrialRecord], asked: list[int]
) -> None:
    seen: list[tuple[int, TrialRecord]] = []
    record = trial(lambda *rung: seen.append(rung), rungs=(0.5,), rung_limit=5)
    (index, rung), evaluation = seen[0], record.evaluation
    assert (index, len(seen)) == (0, 1)
    assert rung.evaluation is not None
    assert evaluation is not None
    assert [task.samples for task in rung.evaluation.tasks.values()] == [5] * 3
    assert [task.samples for task in evaluation.tasks.values()] == [7] * 3
    assert rung.evaluation.retention is not None
    assert asked[-6:] == [5] * 3 + [7] * 3
    larger = trial(lambda *rung: seen.append(rung), rungs=(0.5,), rung_limit=50)
    assert seen[1][1].evaluation is not None
    assert larger.evaluation is not None
    assert [t.samples for t in seen[1][1].evaluation.tasks.values()] == [7] * 3, "the dense base's"


def test_a_record_holds_every_rung_also_those_of_an_earlier_attempt(
    trial: Callable[..., TrialRecord], tmp_path: Path
) -> None:
    def die(index: int, so_far: TrialRecord) -> None:
        write_json(tmp_path / RUNG, so_far)
        if index == 1:
            raise KeyboardInterrupt

    settings = {"rungs": (0.25, 0.5, 0.75), "steps": 4, "checkpoint_every_steps": 2}
    with pytest.raises(KeyboardInterrupt):
        trial(die, **settings)
    seen: dict[int, TrialRecord] = {}
    record = trial(seen.__setitem__, **settings)
    assert list(seen) == [1, 2], "the first came before the checkpoint"
    assert [rung.rung for rung in record.rungs] == [0, 1, 2]
    assert record.recovery is not None
    for rung, share in zip(record.rungs, settings["rungs"], strict=True):
        assert rung.recovery_tflops == pytest.approx(record.recovery.tflops * share, rel=0.05)
    assert seen[2].rungs == record.rungs
    assert seen[1].evaluation is not None
    assert record.rungs[1].retention == seen[1].evaluation.retention
    assert seen[2].evaluation is not None
    assert record.rungs[2].retention == seen[2].evaluation.retention


def test_the_closing_pass_keeps_what_it_scored_before_a_task_crashed(
    trial: Callable[..., TrialRecord],
    shared: Path,
    tmp_path: Path,
    asked: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_json(tmp_path / RECORD, trial(report_limit=9))
    job = ReportJob(trial_id="t", folder=tmp_path, store=shared / "store", attempt="b")
    asked.clear()
    whole = harness.task_rows

    def rows(info: Any, samples: Any) -> Any:
        if info.name == "tiny_counting":
            raise KeyError("no such column")
        return whole(info, samples)

    monkeypatch.setattr(harness, "task_rows", rows)
    with pytest.raises(ValueError, match="asks for the missing ones alone"):
        score_report_split(job)
    assert asked == [9] * 6, "the dense base and the student, three tasks each"
    assert not (tmp_path / REPORT_SCORES).exists()
    monkeypatch.setattr(harness, "task_rows", whole)
    asked.clear()
    evaluation = score_report_split(job)
    assert asked == [9] * 2, "the task that had crashed, of both"
    assert list(evaluation.tasks) == list(TASKS)
    assert not (tmp_path / "scored").exists()
