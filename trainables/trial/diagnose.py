"""What a trial's record says beyond its scores: what the image is worth, and signs of failure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel

from trainables.evaluation.catalog import TASKS, check_tasks
from trainables.evaluation.harness import score_tasks
from trainables.evaluation.sharding import Crew, Exchange
from trainables.records import LOG, EvaluationReport, RecoveryReport, Signature
from trainables.records.score_table import ScoreTable
from trainables.specs import LossSpec
from trainables.trial.inputs import Inputs
from trainables.trial.jobs import TrialJob
from trainables.trial.signatures import find_signatures


def diagnose(
    inputs: Inputs,
    student: PreTrainedModel,
    job: TrialJob,
    recovery: RecoveryReport,
    evaluation: EvaluationReport,
    table: ScoreTable,
    exchange: Exchange | None = None,
) -> tuple[EvaluationReport, tuple[Signature, ...]]:
    """The search-split evaluation with its image gains, and the signatures.

    There are none for an unpruned model, and none where a task failed: a gain is taken over all.

    Args:
        inputs: the trial's inputs.
        student: the finished student.
        job: the trial.
        recovery: how its recovery went.
        evaluation: its scores on the search split.
        table: the samples behind them.
        exchange: where the trial's other workers wait for their shares.
    """
    if job.origin == "reference" or evaluation.failed:
        return evaluation, ()
    log = job.folder / LOG
    dense = inputs.dense_scores("search", log)
    fewer = without_captions(inputs)
    if fewer is not None and job.spec.evaluation.blank_image_limit is not None:
        blank = blank_scores(fewer, student, log, Crew.of(exchange, "student"))
        crew = Crew.of(exchange, "dense")
        usual = fewer.dense_scores("search", log, blank_images=True, crew=crew)
        if not blank.failed and not usual.failed:
            gains = {
                "image_gain": image_gain(table, blank),
                "dense_image_gain": image_gain(dense, usual),
            }
            evaluation = evaluation.model_copy(update=gains)
    loss = job.spec.recovery.loss
    curve = weighted_curve(job.folder, recovery, loss)
    return evaluation, find_signatures(table, dense, evaluation, recovery, loss, curve)


def without_captions(inputs: Inputs) -> Inputs | None:
    """The inputs without captioning tasks; None if there is no other one.

    Questions that are asked again without their images are fewer than before, and the score of a
    caption depends on the images that are scored with it.
    """
    settings = inputs.spec.evaluation
    names = tuple(name for name in check_tasks(settings.tasks) if TASKS[name].alone)
    if not names:
        return None
    evaluation = settings.model_copy(update={"tasks": names})
    return replace(inputs, spec=inputs.spec.model_copy(update={"evaluation": evaluation}))


def blank_scores(
    inputs: Inputs, student: PreTrainedModel, log: Path, crew: Crew | None = None
) -> ScoreTable:
    """The student's scores on the first questions of the search split, without their images."""
    limit = inputs.spec.evaluation.blank_image_limit
    request = inputs.request("search", limit, blank_images=True)
    return score_tasks(student, inputs.dense.processor, request, log=log, crew=crew)


def image_gain(table: ScoreTable, blank: ScoreTable) -> float:
    """Points of the average that the images are worth, on the questions that `blank` holds."""
    return table.matching(blank).average - blank.average


def weighted_curve(folder: Path, recovery: RecoveryReport, loss: LossSpec) -> Sequence[float]:
    """The weighted loss of each applied step, from the recovery's curves; empty without any."""
    if recovery.curves is None or not (folder / recovery.curves).exists():
        return ()
    lines = (folder / recovery.curves).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [
        sum(weight * row[name] for name, weight in loss.weights.items())
        for row in rows
        if "skipped" not in row and all(row.get(name) is not None for name in loss.weights)
    ]
