"""The student as it was pruned, which stays the trial's where training did not make it better."""

import functools
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedModel

from trainables.common.attempts import owned
from trainables.common.device import release_memory
from trainables.evaluation.harness import judge, score_tasks
from trainables.evaluation.sharding import Crew, Exchange
from trainables.pruning.planning.planner import PrunePlan
from trainables.records import (
    LOG,
    SEARCH_SAMPLES,
    TRAINED_SAMPLES,
    EvaluationReport,
    Kept,
    RecoveryReport,
    Signature,
)
from trainables.records.score_table import ScoreTable
from trainables.trial.diagnose import training_made_it_worse
from trainables.trial.evaluate import Scored, Student, keep_blank, keep_untrained, with_image_gains
from trainables.trial.inputs import Inputs
from trainables.trial.jobs import TrialJob
from trainables.trial.student import finished_student


class Choice(NamedTuple):
    """The student that is the trial's, by its scores, and what was found on the way.

    Attributes:
        scored: its scores on the search split.
        kept: which of the two it is.
        other: scores of the one that was not kept; None where they were not compared.
        signatures: that training made it worse, if it did.
    """

    scored: Scored
    kept: Kept = "trained"
    other: EvaluationReport | None = None
    signatures: tuple[Signature, ...] = ()


def better_student(
    job: TrialJob,
    inputs: Inputs,
    plan: PrunePlan,
    trained: Scored,
    recovery: RecoveryReport,
    exchange: Exchange | None,
) -> Choice:
    """The trained student or the untrained one: by their average, or if equal by the held-out loss.

    Of all trials with one plan one cuts its untrained student and asks it, and a trial without
    recovery is one of them. Where a task fails, what was trained stands. A trial that stays
    untrained has the untrained student's samples; the trained tensors stay in its folder, and
    nobody reads them.
    """
    if trained.report.failed:
        return Choice(trained)

    @functools.cache
    def student() -> PreTrainedModel:
        release_memory()  # the trained student lies in cycles
        return finished_student(inputs, plan, None)

    log, crew = job.folder / LOG, Crew.of(exchange, "untrained")
    untrained = _untrained_scores(inputs, plan, student, trained.dense, log, crew)
    report = paired = None
    kept: Kept = "trained"
    if untrained is not None:
        report = untrained.report
        drop = report.average - trained.report.average
        if drop > 0:
            paired = judge("search", trained.table, untrained.table)[0].paired
        if drop > 0 or (drop == 0 and recovery.loss_rose):
            kept = "untrained"
    sign = training_made_it_worse(recovery, trained.report, report, paired, kept)
    signs = () if sign is None else (sign,)
    if untrained is None or kept == "trained":
        return Choice(trained, kept, report, signs)
    with owned(job.folder, job.attempt):
        trained.table.save(job.folder / TRAINED_SAMPLES)
        untrained.table.save(job.folder / SEARCH_SAMPLES)
    untrained = with_image_gains(inputs, student, untrained, log, keep_blank(inputs, plan), crew)
    return Choice(untrained, kept, trained.report, signs)


def _untrained_scores(
    inputs: Inputs,
    plan: PrunePlan,
    student: Student,
    dense: ScoreTable | None,
    log: Path,
    crew: Crew | None,
) -> Scored | None:
    request = inputs.request("search", inputs.spec.evaluation.limit("search"))
    keep, processor = keep_untrained(inputs, plan, "search"), inputs.dense.processor
    try:
        table = score_tasks(student, processor, request, log=log, keep=keep, crew=crew)
        report, table = judge("search", table, dense)
    except ValueError as error:
        print(f"the untrained student could not be scored: {error}", flush=True)
        return None
    return None if report.failed else Scored(report, table, dense)
