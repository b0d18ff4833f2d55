"""The forward passes of a recovery: from sample indices to the terms of each micro-batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainables.common.process_group import rank_and_world
from trainables.models.collation import Batch, move
from trainables.models.families.adapter import VLMAdapter
from trainables.models.work import RecoveryFlops
from trainables.recovery.encode.encoder import Encoder
from trainables.recovery.encode.placeholder_image import with_placeholder_image
from trainables.recovery.loss.coverage import Coverage, coverage
from trainables.recovery.loss.objective import CHUNK_ELEMENTS, RecoveryObjective
from trainables.recovery.loss.targets import Targets, Teacher
from trainables.recovery.loss.terms import total_loss
from trainables.recovery.teacher.cached import CachedTeacher
from trainables.recovery.train.packing import micro_batches
from trainables.recovery.train.throughput import Stopwatch
from trainables.specs import RecoverySpec, TrialSpec

Terms = dict[str, Tensor]
WHOLE = 2**62  # more than any logits have


@dataclass(frozen=True)
class RecoveryJob:
    """What one recovery is given beside its models and data.

    Attributes:
        spec: the trial.
        folder: the trial's folder; curves, checkpoint and trained tensors go there.
        attempt: id of this attempt; a stale one may not write.
        adapter: table of the student's architecture.
        states: the student's states of the hidden term (see `layer_maps`).
        hidden_scale: divisors of the hidden term, one per state.
        teacher_width: hidden size of the teacher.
        flops: what training on one sample costs.
        gradient_checkpointing: whether activations are computed again in the backward pass.
        content: digest of what is trained and on what; a checkpoint of another one is not resumed.
    """

    spec: TrialSpec
    folder: Path
    attempt: str
    adapter: VLMAdapter
    states: tuple[int, ...]
    hidden_scale: tuple[float, ...]
    teacher_width: int
    flops: RecoveryFlops
    gradient_checkpointing: bool = False
    content: str = ""


class Passes:
    """Turns a global batch into this worker's forward passes; knows what each costs.

    `recovery` is the spec in force, which may differ from the trial's (see `effective_spec`).
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher | None,
        encoder: Encoder,
        job: RecoveryJob,
        recovery: RecoverySpec,
        width_map: nn.Linear | None,
    ) -> None:
        self.teacher, self.encoder, self.job, self.recovery = teacher, encoder, job, recovery
        self.rank, self.world = rank_and_world()
        # ZeRO-3 gathers the head at every call, on all workers: they must call it equally often.
        together = recovery.zero_stage == 3 and self.world > 1
        self.objective = RecoveryObjective(
            student,
            recovery.loss,
            job.states,
            job.adapter,
            width_map,
            chunk_elements=WHOLE if together else CHUNK_ELEMENTS,
        )
        self._config = student.config.to_dict()  # type: ignore[union-attr, operator]
        self.device = next(student.parameters()).device
        self.teaching = Stopwatch(self.device)

    def plan(self, indices: list[int]) -> list[list[int]]:
        """The samples of each pass of this worker; as many passes on every worker."""
        spec, length = self.recovery, self.encoder.length
        limit = spec.max_tokens_per_step
        if limit is not None and spec != self.job.spec.recovery:
            # Halved because memory ran out: a sample that is longer by now goes alone.
            limit = max(limit, *(length(i) for i in indices))
        return micro_batches(indices, length, self.world, spec.micro_batch_size, limit)[self.rank]

    def of(
        self, indices: list[int], module: Any, batches: Iterator[Batch] | None = None
    ) -> list[Callable[[], Terms]]:
        """The passes of this worker's share of a global batch, each to be run once, in order.

        Args:
            indices: the samples of the global batch.
            module: what runs them: the objective, or the engine around it.
            batches: the collated batches of `plan(indices)`; None collates them here.
        """
        samples = (self.encoder.tokens(i) for i in indices)
        total = coverage(samples, self.recovery.loss, self.objective.image_token_id)
        parts = self.plan(indices)
        ready = batches or (self.encoder.batch(part) for part in parts)
        self._read_ahead(parts[0])
        following = zip(parts, [*parts[1:], None], strict=True)
        return [
            partial(self._terms, module, part, ready, total, after) for part, after in following
        ]

    def grad_norms(self, indices: list[int], parameters: list[nn.Parameter]) -> dict[str, float]:
        """Gradient norm of each weighted term over a global batch; {} where one is not finite."""
        sums: dict[str, list[Tensor]] = {}
        for run in self.of(indices, self.objective):
            terms = run()
            for name, value in terms.items():
                weighted, keep = total_loss({name: value}, self.recovery.loss), name != [*terms][-1]
                grads = torch.autograd.grad(
                    weighted, parameters, retain_graph=keep, materialize_grads=True
                )
                before = sums.get(name)
                pairs = zip(before, grads, strict=True) if before else None
                sums[name] = [a + b for a, b in pairs] if pairs else list(grads)
        norms = {}
        for name, grads_of_term in sums.items():
            if self.world > 1:
                for grad in grads_of_term:
                    dist.all_reduce(grad)
            squares = torch.stack([g.float().square().sum() for g in grads_of_term])
            norms[name] = float(squares.sum().sqrt())
        return norms if np.isfinite(list(norms.values())).all() else {}

    def size(self, index: int) -> tuple[int, int]:
        """Tokens and images of one sample."""
        return self.encoder.length(index), len(self.encoder.images(index))

    def computed_flops(self, index: int) -> float:
        """FLOPs that a step really computes for one sample."""
        online = self.teacher is not None and self.teacher.name == "online"
        return self.job.flops.computed(*self.size(index), teacher=online)

    def _read_ahead(self, indices: Sequence[int] | None) -> None:
        """Kept answers are read from the disk while another pass computes."""
        if indices is not None and isinstance(self.teacher, CachedTeacher):
            self.teacher.prefetch(indices)

    def _terms(
        self,
        module: Any,
        indices: Sequence[int],
        batches: Iterator[Batch],
        total: Coverage,
        after: Sequence[int] | None,
    ) -> Terms:
        dtype = next(self.objective.student.parameters()).dtype
        batch = move(next(batches), self.device, dtype)
        targets, head = Targets(), None
        if self.teacher is not None:
            with self.teaching.running():
                targets = self.teacher(indices, batch)
            head = self.teacher.head
            self._read_ahead(after)
        if self.world > 1 or self.recovery.zero_stage == 3:
            batch = with_placeholder_image(batch, self.job.adapter, self._config)
            batch = move(batch, self.device, dtype)
        terms: Terms = module(batch, total, targets, head, self.job.hidden_scale)
        return terms
