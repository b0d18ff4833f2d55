"""The recovery of one trial: its teacher, its surroundings, a second try when memory runs out."""

from __future__ import annotations

from trainables.evaluation.efficiency import image_flops
from trainables.evaluation.flops import recovery_flops
from trainables.inputs import Inputs
from trainables.jobs import TrialJob
from trainables.models.teachers import refuse_foreign_teacher
from trainables.pruning.planner import PrunePlan
from trainables.pruning.surgery import apply_plan
from trainables.records import RecoveryReport
from trainables.recovery.job import RecoveryJob
from trainables.recovery.layer_maps import student_states, teacher_states
from trainables.recovery.loop import OnRung, recover
from trainables.recovery.memory import (
    effective_spec,
    halve_once,
    is_out_of_memory,
    release_memory,
    use_gradient_checkpointing,
)
from trainables.recovery.process_group import rank_and_world
from trainables.recovery.targets import Teacher, teacher_needs
from trainables.recovery.teacher import OnlineTeacher


def recover_student(
    job: TrialJob, inputs: Inputs, plan: PrunePlan, on_rung: OnRung | None
) -> RecoveryReport:
    """Cut a student by the plan and train it; the trained tensors are left in the trial's folder.

    Where memory runs out, micro-batches are halved once. One worker begins again here; a group of
    them is started again by Ray Train, since a worker that failed alone leaves the others waiting.

    Raises:
        FloatingPointError: the training diverged.
        ValueError: teacher and student do not fit together.
    """
    teacher = make_teacher(inputs, plan)
    try:
        return _recover(job, inputs, plan, teacher, on_rung)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or not halve_once(job.folder):
            raise
        print(f"memory ran out ({error}); once more with half the micro-batch", flush=True)
        if rank_and_world()[1] > 1:
            raise
    release_memory()
    return _recover(job, inputs, plan, teacher, on_rung)


def make_teacher(inputs: Inputs, plan: PrunePlan) -> Teacher | None:
    """Where this trial's targets come from; None where the loss needs no teacher.

    Raises:
        ValueError: the teacher reads other tokens than the student.
    """
    loss = inputs.spec.recovery.loss
    if not loss.needs_teacher:
        return None
    teacher = inputs.teacher
    refuse_foreign_teacher(inputs.dense.folder, teacher.folder)
    needs = teacher_needs(loss, teacher_states(loss, plan.layers, teacher.shape.num_hidden_layers))
    image_token = teacher.adapter.image_token_id(teacher.model.config.to_dict())
    return OnlineTeacher(teacher.model, needs, image_token)


def recovery_job(job: TrialJob, inputs: Inputs, plan: PrunePlan) -> RecoveryJob:
    """The recovery's surroundings: states, divisors of the hidden term, cost of a sample."""
    dense, recovery, loss = inputs.dense, job.spec.recovery, job.spec.recovery.loss
    layers = len(plan.layers)
    states, teacher = student_states(loss, layers), dense
    if loss.needs_teacher:
        teacher = inputs.teacher
    facing = teacher_states(loss, plan.layers, teacher.shape.num_hidden_layers)
    vision, projector = image_flops(dense.model, dense.adapter)
    spec = effective_spec(recovery, job.folder)
    tokens = spec.max_tokens_per_step or spec.micro_batch_size * job.spec.data.max_tokens
    return RecoveryJob(
        spec=job.spec,
        folder=job.folder,
        attempt=job.attempt,
        adapter=dense.adapter,
        states=states,
        hidden_scale=inputs.hidden_scale(facing),
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
        ),
    )


def _recover(
    job: TrialJob,
    inputs: Inputs,
    plan: PrunePlan,
    teacher: Teacher | None,
    on_rung: OnRung | None,
) -> RecoveryReport:
    student = apply_plan(inputs.dense.model, inputs.dense.adapter, plan)
    return recover(student, teacher, inputs.encoder, recovery_job(job, inputs, plan), on_rung)
