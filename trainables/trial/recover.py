"""The recovery of one trial: its teacher, its surroundings, a second try when memory runs out."""

import functools
import json
from pathlib import Path

from trainables.common.attempts import refuse_stale
from trainables.common.clock import Clock
from trainables.common.device import is_out_of_memory, release_memory
from trainables.common.files import write_json
from trainables.common.process_group import rank_and_world
from trainables.efficiency.measure import image_flops
from trainables.models.dense import DenseModel
from trainables.models.work import recovery_flops
from trainables.pruning.planning.planner import PrunePlan
from trainables.pruning.surgery import apply_plan
from trainables.records import RecoveryReport
from trainables.recovery.loss.layer_maps import student_states, teacher_states
from trainables.recovery.loss.targets import Teacher
from trainables.recovery.teacher.online import mean_square
from trainables.recovery.train.activation_memory import (
    effective_spec,
    halve_once,
    use_gradient_checkpointing,
    was_halved,
)
from trainables.recovery.train.loop import OnRung, recover
from trainables.recovery.train.passes import RecoveryJob
from trainables.specs import digest
from trainables.trial.inputs import Inputs
from trainables.trial.jobs import TrialJob
from trainables.trial.keys import computes
from trainables.trial.plan import calibration_batches, calibration_key
from trainables.trial.shared_recovery import begun_on, recover_once
from trainables.trial.teacher import trial_teacher

SAMPLED = 256  # samples whose length tells how long samples are


def recover_student(
    job: TrialJob, inputs: Inputs, plan: PrunePlan, clock: Clock, on_rung: OnRung | None
) -> RecoveryReport:
    """The recovery of a trial, trained now or by an earlier trial that shares it.

    The trained tensors are in the trial's folder afterwards; with scope `none` there are none.
    """
    if job.spec.recovery.scope == "none":
        return RecoveryReport(scope="none")
    train = functools.partial(train_student, job, inputs, plan, clock, on_rung)
    report = recover_once(job, inputs, plan, clock, train)
    if inputs.dense.model.device.type == "cuda":
        release_memory()  # the scored student takes the trained one's place
    return report


def train_student(
    job: TrialJob, inputs: Inputs, plan: PrunePlan, clock: Clock, on_rung: OnRung | None
) -> RecoveryReport:
    """Cut a student by the plan and train it; the trained tensors are left in the trial's folder.

    Where memory runs out, micro-batches are halved once. One worker begins again here; of several,
    a new group does, since a worker that failed alone leaves the others waiting.

    Raises:
        FloatingPointError: the training diverged.
        ValueError: teacher and student do not fit together.
    """
    with clock("recover"):
        teacher = trial_teacher(inputs, plan, job.caches, clock)
        try:
            return _recover(job, inputs, plan, teacher, on_rung)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            refuse_stale(job.folder, job.attempt)  # whoever took over may have taken the memory
            if not halve_once(job.folder):
                raise
            print(f"memory ran out ({error}); once more with half the micro-batch", flush=True)
            if rank_and_world()[1] > 1:
                raise
        return _recover(job, inputs, plan, teacher, on_rung)


def recovery_job(job: TrialJob, inputs: Inputs, plan: PrunePlan) -> RecoveryJob:
    """The recovery's surroundings: states, divisors of the hidden term, cost of a sample."""
    dense, recovery, loss = inputs.dense, job.spec.recovery, job.spec.recovery.loss
    layers = len(plan.layers)
    teacher = inputs.teacher if loss.needs_teacher else dense
    facing = teacher_states(loss, plan.layers, teacher.shape.num_hidden_layers)
    vision, projector = image_flops(dense.model, dense.adapter)
    spec = effective_spec(recovery, job.folder)
    tokens = spec.max_tokens_per_step or spec.micro_batch_size * _longest(inputs)
    return RecoveryJob(
        spec=job.spec,
        folder=job.folder,
        attempt=job.attempt,
        adapter=dense.adapter,
        states=student_states(loss, layers),
        hidden_scale=_hidden_scale(inputs, teacher, facing),
        teacher_width=teacher.shape.hidden_size,
        flops=recovery_flops(
            dense.shape,
            plan.kept_counts,
            recovery,
            vision_flops=vision,
            projector_flops=projector,
            teacher=teacher.shape,
        ),
        gradient_checkpointing=use_gradient_checkpointing(
            recovery, dense.shape, layers, tokens, dense.model.device
        )
        or (was_halved(job.folder) and recovery.gradient_checkpointing == "auto"),
        content=digest(begun_on(inputs, plan)),
    )


def _hidden_scale(
    inputs: Inputs, teacher: DenseModel, states: tuple[int, ...]
) -> tuple[float, ...]:
    """Divisors of the hidden term, one per state of the teacher (see `LossSpec.normalize`)."""
    loss = inputs.spec.recovery.loss
    if not loss.gamma or loss.hidden != "l2" or loss.normalize == "none":
        return (1.0,) * loss.hidden_layers
    key = {
        **computes(teacher),
        **calibration_key(inputs),
        "states": states,
        "tokens": loss.hidden_tokens,
    }

    def build(folder: Path) -> None:
        batches, tokens = calibration_batches(inputs), loss.hidden_tokens
        scale = mean_square(teacher.model, batches, states, tokens, teacher.adapter)
        write_json(folder / "scale.json", {"mean_square": scale})

    folder, _ = inputs.store.get_or_create("hidden-scale", key, build)
    scale: list[float] = json.loads((folder / "scale.json").read_text())["mean_square"]
    return tuple(scale)


def _longest(inputs: Inputs) -> int:
    """About the most tokens of a sample: a quarter above the longest of the first few."""
    encoder, spec = inputs.encoder, inputs.spec
    first = encoder.data.subset(1.0, spec.seeds.data)[:SAMPLED]
    usable = encoder.usable(first)
    return min(spec.data.max_tokens, max(encoder.length(int(i)) for i in usable) * 5 // 4)


def _recover(
    job: TrialJob,
    inputs: Inputs,
    plan: PrunePlan,
    teacher: Teacher | None,
    on_rung: OnRung | None,
) -> RecoveryReport:
    # The student before, an earlier trial's or one that memory ran out for, lies in cycles, which
    # Python by itself may leave for many trials.
    release_memory()
    student = apply_plan(inputs.dense.model, inputs.dense.adapter, plan)
    surroundings = recovery_job(job, inputs, plan)
    return recover(student, teacher, inputs.encoder, surroundings, on_rung)
