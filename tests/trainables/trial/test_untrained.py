"""Trials of the embedded model whose recovery makes it worse, and one whose recovery does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command_line import invoke
from helpers.jobs import few_steps, make_spec, start_job
from helpers.trials import write_requests, write_sweep
from rich.console import Console

from analysis.goals import Goals
from analysis.load import trial_of
from sweeps.engine.run.progress import View
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.track.run_values import trial_metrics, trial_tags
from trainables.common.process_group import destroy_process_group, fresh_single_process_group
from trainables.common.store import Store
from trainables.evaluation.answering.generation import Answerer
from trainables.models.dense import load_dense
from trainables.pruning.surgery import apply_plan
from trainables.records import (
    SEARCH_SAMPLES,
    TRAINED,
    TRAINED_SAMPLES,
    EvaluationReport,
    TrialRecord,
)
from trainables.records.score_table import ScoreTable
from trainables.recovery.data.conversations import HELD_OUT, held_out_samples
from trainables.specs import EvaluationSpec, ImportanceSpec, PruningSpec
from trainables.trial.closing import score_report_split
from trainables.trial.compress import compress
from trainables.trial.held_out import _held_out
from trainables.trial.inputs import load_inputs
from trainables.trial.jobs import ReportJob
from trainables.trial.launch import publish
from trainables.trial.plan import load_plan
from trainables.trial.student import export_trial

ABSURD, SOUND = 3.0, 3e-3  # peak learning rates
EVALUATION = EvaluationSpec(
    tasks=("tiny_attribute", "tiny_choice"),
    search_limit=24,
    report_limit=16,
    batch_size=24,
    blank_image_limit=8,
)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """A function that runs a trial; all share a store. Returns (record, folder)."""
    home = tmp_path_factory.mktemp("trials")

    def run(name: str, rate: float | None, **changes: Any) -> tuple[TrialRecord, Path]:
        fresh_single_process_group()
        given: dict[str, Any] = {"scope": "projector", "learning_rate": rate, "data_fraction": 0.02}
        steps = changes.pop("steps", 4)
        recovery = few_steps(steps, **{**given, **changes}) if rate else None
        pruning = PruningSpec(
            method="widthwise", ratio=0.4, importance=ImportanceSpec(samples=4, batch_size=4)
        )
        spec = make_spec(None, recovery, evaluation=EVALUATION, pruning=pruning)
        job = start_job(home / name, spec, store=home / "store")
        record = compress(job)
        assert record is not None
        publish(job, record)
        return record, home / name

    yield run
    destroy_process_group()


@pytest.fixture(scope="module")
def worse(trial: Callable[..., Any]) -> tuple[TrialRecord, Path]:
    """A trial at an absurd rate; (record, folder)."""
    found: tuple[TrialRecord, Path] = trial("worse", ABSURD)
    return found


def report_split(folder: Path) -> EvaluationReport:
    store = folder.parent / "store"
    return score_report_split(
        ReportJob(trial_id=folder.name, folder=folder, store=store, attempt="b")
    )


def test_the_untrained_student_is_kept(worse: tuple[TrialRecord, Path]) -> None:
    record, folder = worse
    recovery, evaluation, other = record.recovery, record.evaluation, record.other
    assert recovery is not None
    assert evaluation is not None
    assert other is not None
    assert recovery.held_out_before is not None
    assert recovery.held_out_after is not None
    assert recovery.held_out_after > 2 * recovery.held_out_before
    assert recovery.loss_rose_beyond_noise
    assert record.kept == "untrained"
    assert evaluation.average > other.average
    assert record.as_trained == other
    (sign,) = (s for s in record.signatures if s.name == "training_made_it_worse")
    assert (sign.value, sign.threshold) == (recovery.held_out_after, recovery.held_out_before)
    assert "the student is kept as it was pruned" in sign.sentence
    assert f"from {evaluation.average:.1f} to {other.average:.1f}" in sign.sentence
    assert ScoreTable.load(folder / SEARCH_SAMPLES).average == pytest.approx(evaluation.average)
    assert ScoreTable.load(folder / TRAINED_SAMPLES).average == pytest.approx(other.average)


def test_a_trial_without_recovery_has_the_same_scores_and_asks_nothing(
    worse: tuple[TrialRecord, Path], trial: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("the untrained student has answered already")

    monkeypatch.setattr(Answerer, "__call__", refuse)
    record, _ = trial("bare", None)
    assert record.evaluation == worse[0].evaluation
    assert (record.kept, record.other, record.has_trained) == ("trained", None, False)


def test_an_untrained_student_is_cut_and_asked_once(
    worse: tuple[TrialRecord, Path], trial: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all trials with its plan: on the search split, with blank images, on the report split."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("it is there already")

    with monkeypatch.context() as patch:
        patch.setattr("trainables.trial.untrained.finished_student", refuse)
        record, folder = trial("worse again", 2 * ABSURD)
    assert record.kept == "untrained"
    assert record.evaluation == worse[0].evaluation
    assert record.evaluation.image_gain is not None
    first = report_split(worse[1])
    monkeypatch.setattr("trainables.trial.closing.finished_student", refuse)
    assert report_split(folder) == first


def test_what_is_exported_and_scored_later_is_the_untrained_student(
    worse: tuple[TrialRecord, Path], tmp_path: Path
) -> None:
    record, folder = worse
    inputs = load_inputs(record.spec, Store(folder.parent / "store"))
    pruned = apply_plan(inputs.dense.model, inputs.dense.adapter, load_plan(folder))
    to = export_trial(folder, tmp_path / "model")
    card = (to / "README.md").read_text()
    assert "It did not make the student better" in card
    exported = load_dense(record.spec.model.model_copy(update={"path": str(to)})).model
    weights = dict(pruned.named_parameters())
    for name, weight in exported.named_parameters():
        assert weight.equal(weights[name]), name
    assert record.other is not None
    assert report_split(folder).average > record.other.average, (
        "the trained one answers next to nothing"
    )


@pytest.mark.parametrize("live", [True, False])
def test_status_terminal_and_mlflow_say_so(
    worse: tuple[TrialRecord, Path], tmp_path: Path, live: bool
) -> None:
    trial = trial_of(worse[0])
    (sentence,) = [s.sentence for s in trial.record.signatures if "training" in s.name]
    folder = write_sweep(tmp_path, [trial])
    write_requests(folder, [trial])
    said = invoke("status", folder.name, "--storage", tmp_path).stdout
    assert f"{trial.trial_id}: {sentence}" in " ".join(said.split())
    console = Console(file=StringIO(), width=80, force_terminal=live, no_color=True)
    view, job = View(console), start_job(tmp_path / "job", trial.record.spec)
    view.begin(SweepSpec(name="demo", question="?"), 1, Ledger(tmp_path / "new", "demo"))
    view.started("worse", job, 0)
    view.ended("worse", job, trial.record, None)
    view.end()
    assert f"worse: {sentence}" in " ".join(console.file.getvalue().split())
    assert trial.label.endswith(", kept untrained")
    tags = trial_tags(trial)
    assert tags["kept"] == "untrained"
    assert "training_made_it_worse" in tags["signatures"].split(",")
    metrics = {m.key: m.value for m in trial_metrics(trial)}
    assert {"recovery/held_out_before", "recovery/held_out_after"} <= metrics.keys()
    # The model needs no recovery; what was spent on it is said, and the search goes by that.
    recovery = trial.record.recovery
    assert recovery is not None
    assert metrics["recovery_tflops"] == 0
    assert metrics["recovery/spent_tflops"] == recovery.tflops > 0
    assert Goals().reached(trial.record)[1] == recovery.tflops


def test_a_sound_recovery_is_kept(trial: Callable[..., Any], worse: Any) -> None:
    record, folder = trial("better", SOUND, scope="joint", steps=20)
    assert record.kept == "trained"
    assert record.has_trained
    assert (folder / TRAINED).exists()
    assert record.recovery.held_out_after < record.recovery.held_out_before
    assert record.recovery.held_out_before == worse[0].recovery.held_out_before
    assert record.other.tasks == worse[0].evaluation.tasks, "the untrained student's, asked once"
    assert record.evaluation.average > record.other.average
    assert "training_made_it_worse" not in [s.name for s in record.signatures]


def test_held_out_conversations_are_not_trained_on(worse: tuple[TrialRecord, Path]) -> None:
    record, folder = worse
    inputs = load_inputs(record.spec, Store(folder.parent / "store"))
    seed = record.spec.seeds.data
    trained = inputs.data.subset(record.spec.recovery.data_fraction, seed)
    found = _held_out(inputs)
    assert len(found) == HELD_OUT == held_out_samples(len(inputs.data.conversations), 0.02)
    assert not set(found) & set(trained)
    assert list(found) == list(inputs.data.subset(1.0, seed)[::-1][:HELD_OUT])
    assert not np.array_equal(found, inputs.data.subset(1.0, seed + 1)[::-1][:HELD_OUT])
