"""One trial, top to bottom: load, score, plan, prune, measure, recover, quantize, evaluate.

Costs are measured before the recovery, which does not change them, because rungs report them; a
quantized student's are measured again. Last, the student is compared with the untrained one.

Runs in every worker of a trial. All workers prune and recover together; then the first one
quantizes and evaluates, with the help of the others where the evaluation is sharded, and hands back
the record. Rungs score the unquantized student.
"""

import functools
from collections.abc import Callable
from contextlib import suppress

import torch
from transformers import PreTrainedModel

from trainables.common.attempts import owned
from trainables.common.clock import Clock
from trainables.common.files import read_json, write_json
from trainables.common.process_group import broadcast, rank_and_world
from trainables.common.provenance import collect_provenance, now
from trainables.common.store import Store
from trainables.efficiency.measure import measure
from trainables.efficiency.quantize import quantize, quantized_efficiency
from trainables.evaluation.harness import reasons
from trainables.models.dense import checkpoint_bytes, refuse_on_device
from trainables.pruning.planning.planner import PrunePlan
from trainables.pruning.surgery import apply_plan
from trainables.records import (
    LOG,
    PLAN,
    RUNG,
    STAGE,
    TRAINED,
    EfficiencyReport,
    EvaluationReport,
    RecoveryReport,
    RungResult,
    Signature,
    Stage,
    TrialRecord,
)
from trainables.specs import DTYPE_BYTES
from trainables.trial.diagnose import diagnose, weighted_curve
from trainables.trial.evaluate import evaluate_student, score
from trainables.trial.held_out import held_out, held_out_before, paired_losses
from trainables.trial.inputs import Inputs, load_inputs
from trainables.trial.jobs import TrialJob
from trainables.trial.plan import describe, importance_scores, make_plan
from trainables.trial.recover import recover_student
from trainables.trial.shared_recovery import keep_recovery, kept_if_it_fails
from trainables.trial.student import recovered_student
from trainables.trial.untrained import Choice, better_student
from trainables.trial.workers import help_out, helped, leave_group

OnRung = Callable[[int, TrialRecord], None]


def compress(job: TrialJob, on_rung: OnRung | None = None) -> TrialRecord | None:
    """Prune, recover, quantize, evaluate and measure one model.

    Args:
        job: the trial; its folder is claimed by its attempt (see `attempts.claim`).
        on_rung: called on rank 0 with the index of each rung and the record as it stands there;
            whatever it raises ends the trial, and `SystemExit` all workers at once.

    Returns:
        The record on rank 0, None on the other workers.

    Raises:
        ValueError: the inputs do not fit; the message says what to do.
        FloatingPointError: the training diverged.
    """
    rank, world = rank_and_world()

    def tell(stage: str) -> None:
        if rank == 0:
            _say_stage(job, stage)

    spec, clock = job.spec, Clock(tell)
    with clock("load"):
        inputs = load_inputs(spec, Store(job.store))
        dense = inputs.dense
    with clock("score"):
        scores = importance_scores(inputs)
        plan = make_plan(inputs, scores)
    _refuse_small_device(inputs, plan)
    with clock("prune"):
        torch.manual_seed(spec.seeds.train)
        student = apply_plan(dense.model, dense.adapter, plan)
    with clock("measure"):
        efficiency = measure(student, dense.adapter, spec.efficiency, spec.model.dtype)
    if rank == 0:
        write_json(job.folder / PLAN, plan, owned(job.folder, job.attempt))
    trains = spec.recovery.scope != "none"
    before = None
    if trains and rank == 0:
        with clock("compare"):
            before = held_out_before(inputs, plan, student)
    if trains or rank != 0:
        del student  # the recovery cuts its own, and another one if memory runs out
    rungs = _earlier_rungs(job)
    record = functools.partial(_record, job, inputs, plan, clock, world, rungs)

    def score_rung(index: int, recovery: RecoveryReport, student: torch.nn.Module) -> None:
        assert isinstance(student, PreTrainedModel)
        with clock("evaluate"):
            scored, _ = score(
                inputs, lambda: student, "search", job.folder / LOG, job.origin, rung=True
            )
        # A retention over fewer tasks is not compared with others'; the trial goes on.
        if on_rung is not None and not scored.failed:
            spent = clock.cost(dense.model.device, devices=world).device_seconds
            rungs[index] = RungResult(
                rung=index,
                retention=scored.retention,
                recovery_tflops=recovery.tflops,
                device_seconds=sum(spent.values()),
                final_tflops=recovery.final_tflops,
            )
            on_rung(index, record(efficiency, recovery, scored))

    def rung_of_all(index: int, recovery: RecoveryReport, student: torch.nn.Module) -> None:
        stopped = ""
        if rank == 0:  # the others wait for what comes of it
            try:
                score_rung(index, recovery, student)
            except SystemExit:
                stopped = "stopped"
        if world > 1:
            stopped = broadcast(stopped)
        if stopped:
            raise SystemExit(0)

    recovery = recover_student(job, inputs, plan, clock, rung_of_all)
    exchange, trained = leave_group(job)
    if rank != 0:
        help_out(exchange, trained, job, inputs, plan)
        return None
    with helped(exchange), kept_if_it_fails(job, inputs, plan, recovery):
        if trains:
            with clock("prune"):
                student = recovered_student(inputs, plan, job.folder / TRAINED)
            with clock("compare"):
                after = held_out(inputs, student)
                recovery = recovery.model_copy(update=paired_losses(before, after))
        if spec.quantization != "none":
            with clock("quantize"):
                student = quantize(student, dense.adapter, spec.quantization)
                efficiency = quantized_efficiency(
                    efficiency, student, spec.quantization, spec.model.dtype
                )
        with clock("evaluate"):
            choice = Choice(evaluate_student(job, inputs, plan, student, exchange))
        del student
        if trains:
            with clock("untrained"):
                choice = better_student(job, inputs, plan, choice.scored, recovery, exchange)
    evaluation, table, compared = choice.scored
    if evaluation.failed:
        keep_recovery(job, inputs, plan, recovery)
    loss = spec.recovery.loss
    curve = weighted_curve(job.folder, recovery, loss)
    signatures = diagnose(table, compared, evaluation, recovery, loss, curve) + choice.signatures
    return record(efficiency, recovery, evaluation, signatures, choice)


def _say_stage(job: TrialJob, stage: str) -> None:
    """Write what a trial is at into its folder; a note, for which no trial fails."""
    with suppress(OSError):
        now_at = Stage(stage=stage, since=now())
        write_json(job.folder / STAGE, now_at, owned(job.folder, job.attempt))


def _earlier_rungs(job: TrialJob) -> dict[int, RungResult]:
    """The rungs, by index, that an earlier attempt of a trial that is resumed got to."""
    path = job.folder / RUNG
    if not path.exists():
        return {}
    return {rung.rung: rung for rung in read_json(path, TrialRecord).rungs}


def _refuse_small_device(inputs: Inputs, plan: PrunePlan) -> None:
    """Refuse what this process's GPU cannot hold, before the student is cut."""
    model = inputs.spec.model
    needs = {
        "the dense model": checkpoint_bytes(inputs.dense.folder, model.dtype),
        "the student's language model": plan.lm_params * DTYPE_BYTES[model.dtype],
    }
    refuse_on_device(needs, model)


def _record(
    job: TrialJob,
    inputs: Inputs,
    plan: PrunePlan,
    clock: Clock,
    world: int,
    rungs: dict[int, RungResult],
    efficiency: EfficiencyReport,
    recovery: RecoveryReport,
    evaluation: EvaluationReport,
    signatures: tuple[Signature, ...] = (),
    choice: Choice | None = None,
) -> TrialRecord:
    """The record of what was found so far."""
    dense = inputs.dense
    weights, data = dense.weights_digest, inputs.data.digest
    return job.record(
        reasons(evaluation.failed) or None,
        collect_provenance(job.attempt, clock.started, weights, data),
        pruning=describe(plan),
        recovery=recovery,
        evaluation=evaluation,
        efficiency=efficiency,
        cost=clock.cost(dense.model.device, devices=world),
        signatures=signatures,
        rungs=tuple(rungs.values()),
        **({"kept": choice.kept, "other": choice.other} if choice else {}),
    )
