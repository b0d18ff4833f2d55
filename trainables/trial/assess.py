"""Scores of a finished model by hand: a checkpoint, a known model or a trial, without a sweep."""

from __future__ import annotations

from pathlib import Path

from trainables.common.files import read_json
from trainables.common.store import Store
from trainables.evaluation.harness import judge, score_tasks
from trainables.records import RECORD, EvaluationReport, TrialRecord
from trainables.records.score_table import ScoreTable
from trainables.recovery.train.steps import TRAINED
from trainables.specs import EvaluationSpec, ModelSpec, Split
from trainables.trial.evaluate import model_scores
from trainables.trial.inputs import load_inputs
from trainables.trial.plan import load_plan
from trainables.trial.student import finished_student, no_model


def assess(
    target: ModelSpec | Path,
    settings: EvaluationSpec,
    split: Split,
    store: Store,
    *,
    against: ModelSpec | None = None,
    spread: bool = False,
    log: Path | None = None,
) -> EvaluationReport:
    """Scores of a model with the harness and the settings of a sweep.

    Args:
        target: a model, or the folder of a trial, whose student is built again.
        settings: tasks, data and limits.
        split: which samples.
        store: where the scores of unpruned models are kept, by weights digest and settings.
        against: the dense base that is scored with the same settings, for paired comparisons.
        spread: lay the models over all GPUs of this machine.
        log: file that lmms-eval's output is appended to.

    Raises:
        ValueError: the trial left no model, or nothing could be scored.
    """
    # One after the other: only one dense model is in memory at a time.
    if isinstance(target, Path):
        table = _trial_scores(target, settings, split, store, spread, log)
    else:
        table = model_scores(target, settings, split, store, spread=spread, log=log)
    dense = None
    if against is not None:
        dense = model_scores(against, settings, split, store, spread=spread, log=log)
    return judge(split, table, dense)[0]


def _trial_scores(
    folder: Path,
    settings: EvaluationSpec,
    split: Split,
    store: Store,
    spread: bool,
    log: Path | None,
) -> ScoreTable:
    record = read_json(folder / RECORD, TrialRecord)
    trained = record.spec.recovery.scope == "none" or (folder / TRAINED).exists()
    if record.pruning is None or not trained:
        raise no_model(folder, record)
    if spread:
        raise ValueError(
            "a trial's student is cut on one device; export the trial and evaluate the folder with "
            "--spread"
        )
    spec = record.spec.model_copy(update={"evaluation": settings})
    inputs = load_inputs(spec, store, data=False)
    student = finished_student(inputs, load_plan(folder), folder)
    request = inputs.request(split, settings.limit(split))
    return score_tasks(student, inputs.dense.processor, request, log=log)
