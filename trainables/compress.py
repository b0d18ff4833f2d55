"""One trial, top to bottom: prune -> recover -> quantize -> evaluate -> measure.

Runs in every worker of a trial. All workers prune and recover together; then rank 0 alone
quantizes, evaluates and measures, and hands back the record. Rungs score the unquantized student.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from trainables.diagnosis import diagnose
from trainables.evaluation.efficiency import measure
from trainables.evaluation.harness import evaluate
from trainables.evaluation.quantization import quantize, quantized_efficiency
from trainables.evaluation.scoring import ScoreTable, report
from trainables.inputs import Inputs, load_inputs
from trainables.jobs import TrialJob
from trainables.models.recovered import apply_recovered
from trainables.provenance import Clock, collect_provenance, now
from trainables.pruning.planner import PrunePlan
from trainables.pruning.surgery import apply_plan
from trainables.records import (
    LOG,
    PLAN,
    EvaluationReport,
    PruningReport,
    RecoveryReport,
    Signature,
    TrialRecord,
    write_json,
)
from trainables.recovery.checkpoint import claim
from trainables.recovery.process_group import destroy_process_group, rank_and_world
from trainables.recovery.training import TRAINED
from trainables.recovery_stage import recover_student
from trainables.shared_recovery import recover_once
from trainables.specs import Origin, Split
from trainables.store import Store

OnRung = Callable[[int, TrialRecord], None]


def compress(job: TrialJob, on_rung: OnRung | None = None) -> TrialRecord | None:
    """Prune, recover, quantize, evaluate and measure one model.

    Args:
        job: the trial.
        on_rung: called on rank 0 with the index of each rung and the record as it stands there;
            whatever it raises ends the trial.

    Returns:
        The record on rank 0, None on the other workers.

    Raises:
        ValueError: the inputs do not fit; the message says what to do.
        FloatingPointError: the training diverged.
    """
    spec, started, clock = job.spec, now(), Clock()
    rank, world = rank_and_world()
    if rank == 0:
        claim(job.folder, job.attempt)
    with clock("load"):
        inputs = load_inputs(spec, Store(job.store))
        dense = inputs.dense
    with clock("score"):
        plan = inputs.plan()
    with clock("prune"):
        torch.manual_seed(spec.seeds.train)
        student = apply_plan(dense.model, dense.adapter, plan)

    def record(
        recovery: RecoveryReport,
        evaluation: EvaluationReport | None,
        signatures: tuple[Signature, ...] = (),
    ) -> TrialRecord:
        return TrialRecord(
            trial_id=job.trial_id,
            sweep=job.sweep,
            status="completed",
            origin=job.origin,
            spec=spec,
            seeds=spec.seeds,
            pruning=describe(plan),
            recovery=recovery,
            evaluation=evaluation,
            efficiency=efficiency,
            cost=clock.cost(dense.model.device, devices=world),
            signatures=signatures,
            provenance=collect_provenance(
                job.attempt, started, dense.weights_digest, inputs.data.digest
            ),
        )

    def rung(index: int, so_far: RecoveryReport, model: torch.nn.Module) -> None:
        assert isinstance(model, PreTrainedModel)
        with clock("evaluate"):
            evaluation, _ = score(inputs, model, "search", job.folder / LOG, job.origin)
        if on_rung is not None:
            on_rung(index, record(so_far, evaluation))

    with clock("measure"):
        efficiency = measure(student, dense.adapter, spec.efficiency, spec.model.dtype)
    if rank == 0:
        write_json(job.folder / PLAN, plan)
    recovery = RecoveryReport(scope="none")
    if spec.recovery.scope != "none":
        del student  # the recovery cuts its own, and another one if memory runs out

        def train() -> RecoveryReport:
            with clock("recover"):
                return recover_student(job, inputs, plan, clock, rung)

        recovery = recover_once(job, inputs, plan, clock, train)
    if world > 1:
        destroy_process_group()  # what follows is one process, and lmms-eval would count the others
    if rank != 0:
        return None
    if spec.recovery.scope != "none":
        with clock("prune"):
            student = rebuild(inputs, plan, job.folder)
    if spec.quantization != "none":
        with clock("quantize"):
            student = quantize(student, dense.adapter, spec.quantization)
            efficiency = quantized_efficiency(
                efficiency, student, dense.adapter, spec.quantization, spec.model.dtype
            )
    with clock("evaluate"):
        evaluation, table = score(inputs, student, "search", job.folder / LOG, job.origin)
        evaluation, signatures = diagnose(inputs, student, job, recovery, evaluation, table)
    return record(recovery, evaluation, signatures)


def rebuild(inputs: Inputs, plan: PrunePlan, folder: Path) -> PreTrainedModel:
    """The recovered student: the dense model, cut by the plan, with the trial's trained tensors."""
    student = apply_plan(inputs.dense.model, inputs.dense.adapter, plan)
    if inputs.spec.recovery.scope != "none":
        apply_recovered(student, folder / TRAINED)
    return student


def finished(inputs: Inputs, plan: PrunePlan, folder: Path) -> PreTrainedModel:
    """The student as it is scored: recovered, and quantized if its spec says so."""
    student = rebuild(inputs, plan, folder)
    return quantize(student, inputs.dense.adapter, inputs.spec.quantization)


def score(
    inputs: Inputs, model: PreTrainedModel, split: Split, log: Path, origin: Origin
) -> tuple[EvaluationReport, ScoreTable]:
    """Scores on `split` and the samples behind them.

    They are paired with the baseline's, unless this is the baseline itself.
    """
    settings, baseline = inputs.spec.evaluation, inputs.spec.baseline
    if origin == "reference":
        table = inputs.dense_scores(split, log)
        if baseline is None or baseline == inputs.spec.model:
            return report(split, table), table
        spec = inputs.spec.model_copy(update={"model": baseline, "baseline": None})
        theirs = load_inputs(spec, inputs.store).dense_scores(split, log)
        return report(split, table, theirs), table
    return evaluate(
        model,
        inputs.dense.processor,
        settings.tasks,
        split,
        task_folder=inputs.task_folder(split),
        limit=settings.limit(split),
        batch_size=settings.batch_size,
        max_new_tokens=settings.max_new_tokens,
        dense=inputs.dense_scores(split, log),
        log=log,
    )


def describe(plan: PrunePlan) -> PruningReport:
    """The plan's outcome as it stands in the record."""
    groups, neurons = zip(*plan.kept_counts, strict=True)
    return PruningReport(
        method=plan.method,
        target_ratio=plan.target_ratio,
        ratio=plan.ratio,
        plan_digest=plan.digest,
        layers=len(plan.layers),
        kv_groups=groups,
        neurons=neurons,
        lm_params_dense=plan.lm_params_dense,
        lm_params=plan.lm_params,
        size=plan.size,
        size_achieved=plan.size_achieved,
    )
