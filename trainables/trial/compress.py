"""One trial, top to bottom: prune -> recover -> quantize -> evaluate -> measure.

Runs in every worker of a trial. All workers prune and recover together; then rank 0 quantizes and
evaluates, with the help of the others where the evaluation is sharded, and hands back the record.
Rungs score the unquantized student.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from trainables.common.files import write_json
from trainables.common.process_group import destroy_process_group, rank_and_world
from trainables.common.provenance import Clock, collect_provenance, now
from trainables.common.store import Store
from trainables.efficiency.measure import measure
from trainables.efficiency.quantize import quantize, quantized_efficiency
from trainables.evaluation.harness import evaluate, judge, reasons
from trainables.evaluation.saved_tables import Keep, forget_kept, score_anew
from trainables.evaluation.scoring import refuse_zero
from trainables.evaluation.sharding import Crew, Exchange
from trainables.models.dense import refuse_on_device
from trainables.models.fits import checkpoint_bytes
from trainables.models.recovered import apply_recovered
from trainables.pruning.planning.planner import PrunePlan
from trainables.pruning.surgery import apply_plan
from trainables.records import (
    LOG,
    PLAN,
    SEARCH_SAMPLES,
    EvaluationReport,
    PruningReport,
    RecoveryReport,
    Signature,
    TrialRecord,
)
from trainables.records.score_table import ScoreTable
from trainables.recovery.train.checkpoint import claim
from trainables.recovery.train.steps import TRAINED
from trainables.specs import DTYPE_BYTES, Origin, Split
from trainables.trial.diagnose import diagnose
from trainables.trial.evaluate import help_out, helped, keep_scores, meet
from trainables.trial.inputs import Inputs, load_inputs
from trainables.trial.jobs import TrialJob
from trainables.trial.recover import recover_student
from trainables.trial.shared_recovery import keep_recovery, kept_if_it_fails, recover_once

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
    refuse_on_device(
        {
            "the dense model": checkpoint_bytes(dense.folder, spec.model.dtype),
            "the student's language model": plan.lm_params * DTYPE_BYTES[spec.model.dtype],
        },
        spec.model,
    )
    with clock("prune"):
        torch.manual_seed(spec.seeds.train)
        student = apply_plan(dense.model, dense.adapter, plan)

    def record(
        recovery: RecoveryReport,
        evaluation: EvaluationReport | None,
        signatures: tuple[Signature, ...] = (),
    ) -> TrialRecord:
        failed = evaluation.failed if evaluation else {}
        return TrialRecord(
            trial_id=job.trial_id,
            sweep=job.sweep,
            status="failed" if failed else "completed",
            error=reasons(failed) or None,
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
            evaluation, _ = score(inputs, model, "search", job.folder / LOG, job.origin, rung=True)
        # A retention over fewer tasks is not compared with others'; the trial goes on.
        if on_rung is not None and not evaluation.failed:
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
    exchange, trained = meet(job) if world > 1 and spec.evaluation.sharded else (None, "")
    if world > 1:
        destroy_process_group()  # what follows needs none, and lmms-eval would count the others
    if rank != 0:
        if exchange is not None:
            again = functools.partial(finished, inputs, plan, job.folder)
            help_out(exchange, trained, inputs, again, job.folder)
        return None
    with helped(exchange), kept_if_it_fails(job, inputs, plan, recovery):
        if spec.recovery.scope != "none":
            with clock("prune"):
                student = rebuild(inputs, plan, job.folder)
        if spec.quantization != "none":
            with clock("quantize"):
                student = quantize(student, dense.adapter, spec.quantization)
                efficiency = quantized_efficiency(
                    efficiency, student, spec.quantization, spec.model.dtype
                )
        with clock("evaluate"):
            log, keep = job.folder / LOG, keep_scores(inputs, plan, job.folder, "search")
            evaluation, table = score(
                inputs, student, "search", log, job.origin, keep=keep, exchange=exchange
            )
            table.save(job.folder / SEARCH_SAMPLES)
            evaluation, signatures = diagnose(
                inputs, student, job, recovery, evaluation, table, exchange
            )
    forget_kept(job.folder)
    if evaluation.failed:
        keep_recovery(job, inputs, plan, recovery)
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
    inputs: Inputs,
    model: PreTrainedModel,
    split: Split,
    log: Path,
    origin: Origin,
    *,
    rung: bool = False,
    keep: Keep = score_anew,
    exchange: Exchange | None = None,
) -> tuple[EvaluationReport, ScoreTable]:
    """Scores on `split` and the samples behind them.

    They are paired with the baseline's, unless this is the baseline itself.

    Args:
        inputs: the trial's inputs.
        model: the student.
        split: which samples.
        log: file that lmms-eval's output is appended to.
        origin: of the trial; the model of a reference is its dense model.
        rung: the recovery goes on, and fewer samples may do.
        keep: where the tables of finished tasks are kept.
        exchange: where the trial's other workers wait for their shares.
    """
    settings, baseline = inputs.spec.evaluation, inputs.spec.baseline
    limit = settings.limit_at_rungs if rung else settings.limit(split)
    crew = Crew.of(exchange, "dense")
    dense = inputs.dense_scores(split, log, crew=crew, captions_limit=limit if rung else None)
    if origin == "reference":
        if baseline is None or baseline == inputs.spec.model:
            refuse_zero(dense.average)  # before the other trials have trained for nothing
            return judge(split, dense, None)
        spec = inputs.spec.model_copy(update={"model": baseline, "baseline": None})
        theirs = load_inputs(spec, inputs.store).dense_scores(split, log)
        return judge(split, dense, theirs)
    return evaluate(
        model,
        inputs.dense.processor,
        inputs.request(split, limit),
        dense,
        log=log,
        keep=keep,
        crew=Crew.of(exchange, "student"),
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
