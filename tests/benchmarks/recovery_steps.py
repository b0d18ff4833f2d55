"""The two sides of the benchmark `recovery.py`: the obvious loop, and the engine's passes."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recovery_inputs import (
    Conversations,
    Models,
    Weights,
)
from torch import Tensor, nn
from torch.nn import functional

from trainables.models.collation import IGNORE, Batch, move
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.work import RecoveryFlops
from trainables.recovery.loss.coverage import answer_positions
from trainables.recovery.loss.layer_maps import TeacherNeeds, student_states, teacher_states
from trainables.recovery.loss.objective import RecoveryObjective
from trainables.recovery.loss.targets import Targets, Teacher, teacher_needs
from trainables.recovery.loss.terms import cross_entropy_sum, divergence_sum, total_loss
from trainables.recovery.teacher.online import OnlineTeacher
from trainables.recovery.train.passes import Passes, RecoveryJob
from trainables.recovery.train.schedule import take_batches
from trainables.specs import LossSpec, RecoverySpec, TrialSpec


@dataclass(frozen=True)
class Row:
    """One configuration of the engine; the defaults are all of its tricks."""

    name: str
    cached: bool = True  # else the teacher runs in every step
    packed: bool = True
    covered: bool = True  # else the student's logits are computed at every position
    causal: bool = True  # else padding stands on the left, and attention needs its mask
    length_groups: int = 1


PLAIN = "plain loop"
ROWS = (
    Row("online teacher", cached=False),
    Row("cached teacher"),
    Row("- packing", packed=False),
    Row("- covered logits", covered=False),
    Row("- causal kernel", causal=False),
    Row("+ length groups", length_groups=4),
)


@dataclass(frozen=True)
class Setting:
    """What all rows of a table share: models, data, loss, and the micro-batches that fit best."""

    models: Models
    weights: Weights
    data: Conversations
    teacher: Callable[[TeacherNeeds], Teacher]  # whose answers are kept
    loss: LossSpec
    steps: int
    batch_size: int
    plain_size: int = 8
    own_size: int = 8

    @property
    def mean_length(self) -> float:
        return statistics.mean(self.data.length(i) for i in range(len(self.data.samples)))

    def batches(self, length_groups: int = 1) -> list[list[int]]:
        """The global batches: every sample once, in random order."""
        samples = np.arange(len(self.data.samples))
        order = take_batches(samples, 0, self.batch_size, self.data.length, length_groups)
        return list(islice(order, self.steps))


Step = Callable[[list[int]], Tensor]  # trains on a global batch, returns its loss
Plan = Callable[[list[int]], list[list[int]]]  # the samples of each pass of a global batch


def plain_loop(setting: Setting) -> tuple[Step, Plan]:
    """The obvious loop: both models look at padded batches in their order; logits everywhere."""
    student, teacher, data = setting.models.student, setting.models.dense, setting.data
    loss = setting.loss

    def plan(indices: list[int]) -> list[list[int]]:
        size = setting.plain_size
        return [indices[at : at + size] for at in range(0, len(indices), size)]

    def answer(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        states = model.model(**inputs, use_cache=False).last_hidden_state
        return states, model.lm_head(states)

    def step(indices: list[int]) -> Tensor:
        answers = sum(data.answers(i) for i in indices)
        tokens = sum(data.length(i) for i in indices)
        values = []
        for part in plan(indices):
            batch = move(data.batch(part), student.device, student.dtype)
            with torch.no_grad():
                wanted, reference = answer(teacher, batch)
            states, logits = answer(student, batch)
            labels = batch["labels"][:, 1:]
            flat = logits[:, :-1].float().flatten(0, 1)
            entropy = functional.cross_entropy(flat, labels.flatten(), reduction="sum")
            value = loss.alpha * entropy / answers
            if loss.gamma:
                squares = (states.float() - wanted.float()).square().mean(-1)
                value = value + loss.gamma * (squares * batch["attention_mask"]).sum() / tokens
            if loss.beta:
                own = functional.log_softmax(logits[:, :-1].float() / loss.temperature, -1)
                other = functional.log_softmax(reference[:, :-1].float() / loss.temperature, -1)
                divergence = (own.exp() * (own - other)).sum(-1) * (labels != IGNORE)
                value = value + loss.beta * loss.temperature**2 * divergence.sum() / answers
            value.backward()
            values.append(value.detach())
        setting.weights.step()
        return torch.stack(values).sum()

    return step, plan


class EveryPosition(RecoveryObjective):
    """The objective without one of its tricks: the student's logits at every position, in one."""

    def _head_sums(
        self, final: Tensor, batch: Batch, targets: Targets, teacher_head: nn.Module | None
    ) -> Tensor:
        labels = functional.pad(batch["labels"][:, 1:], (0, 1), value=IGNORE)
        logits: Tensor = self.student.lm_head(final)  # type: ignore[operator]
        answer = cross_entropy_sum(logits.flatten(0, 1), labels.flatten())
        divergence = torch.zeros_like(answer)
        if self.loss.beta:
            assert teacher_head is not None
            with torch.no_grad():
                reference = teacher_head(targets.final)
            covered = answer_positions(batch["labels"])
            how = (self.loss.logits, self.loss.temperature)
            divergence = divergence_sum(logits[covered], reference, *how)
        return torch.stack([answer, divergence])


def engine(setting: Setting, row: Row) -> tuple[Step, Plan]:
    """The engine with the tricks of a row, without DeepSpeed around it."""
    models, loss, data = setting.models, setting.loss, setting.data
    layers = models.plan.shape.num_hidden_layers
    needs = teacher_needs(loss, teacher_states(loss, models.plan.layers, layers))
    teacher = (
        setting.teacher(needs) if row.cached else OnlineTeacher(models.dense, needs, LLAVA_LLAMA)
    )
    longest = max(data.length(i) for i in range(len(data.samples)))
    tokens = max(longest, round(setting.own_size * setting.mean_length))
    recovery = RecoverySpec(
        scope="joint",
        loss=loss,
        batch_size=setting.batch_size,
        micro_batch_size=setting.plain_size,
        max_tokens_per_step=tokens if row.packed else None,
    )
    job = RecoveryJob(
        spec=TrialSpec(recovery=recovery),
        folder=Path(),
        attempt="",
        adapter=LLAVA_LLAMA,
        states=student_states(loss, len(models.plan.layers)),
        hidden_scale=(1.0,),
        teacher_width=models.plan.shape.hidden_size,
        flops=RecoveryFlops(),
    )
    encoder: Any = copy.copy(data)
    encoder.side = "right" if row.causal else "left"
    passes = Passes(models.student, teacher, encoder, job, recovery, None)
    if not row.covered:
        passes.objective = EveryPosition(models.student, loss, job.states, LLAVA_LLAMA)

    def step(indices: list[int]) -> Tensor:
        values = []
        for run in passes.of(indices, passes.objective):
            value = total_loss(run(), loss)
            value.backward()
            values.append(value.detach())
        setting.weights.step()
        return torch.stack(values).sum()

    return step, passes.plan
