"""One recovery as it is trained: the student prepared, its engine, its steps, its report."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from trainables.common.attempts import owned
from trainables.common.process_group import rank_and_world
from trainables.models.collation import Batch
from trainables.records import CURVES, TRAINED, RecoveryReport, RecoverySpeed
from trainables.recovery.encode.encoder import Encoder
from trainables.recovery.loss.targets import Teacher
from trainables.recovery.train import checkpoint
from trainables.recovery.train.activation_memory import effective_spec, was_halved
from trainables.recovery.train.checkpoint import Progress
from trainables.recovery.train.engine import (
    MOST_IN_A_ROW,
    StepResult,
    optimizer_step,
    reason_to_skip,
    training_engine,
    window,
)
from trainables.recovery.train.passes import Passes, RecoveryJob
from trainables.recovery.train.schedule import take_batches
from trainables.recovery.train.throughput import model_flops_utilisation
from trainables.recovery.train.trained_parameters import prepare_student, save_trained, width_map


class Training:
    """The fixed surroundings of one recovery, and the seconds it has taken."""

    def __init__(
        self, student: nn.Module, teacher: Teacher | None, encoder: Encoder, job: RecoveryJob
    ) -> None:
        self.student, self.encoder, self.job = student, encoder, job
        self.rank, self.world = rank_and_world()
        self.recovery = effective_spec(job.spec.recovery, job.folder)
        torch.manual_seed(job.spec.seeds.train)
        self.trained = prepare_student(student, job.adapter, self.recovery)
        if job.gradient_checkpointing:
            student.gradient_checkpointing_enable(  # type: ignore[operator]
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )
        self.train_mode()
        subset = encoder.data.subset(self.recovery.data_fraction, job.spec.seeds.data)
        if job.spec.data.skip_broken:  # else a sample that cannot be encoded ends the trial
            subset = encoder.usable(subset)
        self.subset = subset
        self.device = next(student.parameters()).device
        extra = width_map(student, job.adapter, job.teacher_width, self.recovery.loss)
        self.passes = Passes(student, teacher, encoder, job, self.recovery, extra)
        if extra is not None:
            self.trained |= {f"width_map.{name}": p for name, p in extra.named_parameters()}
        self.seconds = self.flops = 0.0  # of this attempt

    def train_mode(self) -> None:
        """Dropout in what is trained; the vision tower stays as it is evaluated."""
        self.student.train()
        self.student.get_submodule(self.job.adapter.vision_tower).eval()

    def batches(self, start: int = 0) -> Iterator[list[int]]:
        """The endless global batches from number `start` on."""
        seed, size = self.job.spec.seeds.data, self.recovery.batch_size
        length, groups = self.encoder.length, self.recovery.length_groups
        return take_batches(self.subset, seed, size, length, groups, start)

    def nominal_flops(self, index: int) -> float:
        """Nominal FLOPs of training on one sample."""
        return self.job.flops.per_sample(*self.passes.size(index))

    def first_grad_norms(self) -> dict[str, float]:
        """Gradient norm of each weighted term on the first global batch, before any step."""
        if self.recovery.zero_stage == 3 and self.world > 1:
            return {}  # whole gradients may not fit where the weights are partitioned
        self._seed(0)
        return self.passes.grad_norms(next(self.batches()), list(self.trained.values()))

    @contextmanager
    def engine(self, stored: Progress | None) -> Iterator[Any]:
        """The engine, at the state of the checkpoint if there is one; gone after the block."""
        if stored is not None:
            checkpoint.restore_weights(self.job.folder, self.trained)
        objective, parameters = self.passes.objective, self.trained.values()
        with training_engine(objective, parameters, self.recovery, self.device) as engine:
            if stored is not None:
                # One step at rate 0 makes the optimizer allocate its state and changes no weight.
                for indices in itertools.islice(self.batches(), MOST_IN_A_ROW):
                    passes = self.passes.of(indices, engine)
                    loss = self.recovery.loss
                    if not optimizer_step(engine, passes, loss, 0.0, None).skipped:
                        break
                checkpoint.restore_state(self.job.folder, engine, self.trained, stored)
            yield engine

    def step(
        self,
        engine: Any,
        indices: list[int],
        batches: Iterator[Batch],
        rate: float,
        progress: Progress,
    ) -> StepResult:
        """One optimizer step on a global batch."""
        self._seed(progress.step)
        recent, factor = progress.recent_losses, self.recovery.spike_factor
        start = time.perf_counter()
        result = optimizer_step(
            engine,
            self.passes.of(indices, engine, batches),
            self.recovery.loss,
            rate,
            lambda loss: reason_to_skip(loss, recent, factor),
        )
        self.seconds += time.perf_counter() - start
        return result

    def advance(self, progress: Progress, indices: list[int], result: StepResult) -> Progress:
        """The progress after a step."""
        self.flops += sum(self.passes.computed_flops(i) for i in indices)
        clip, norm, bad = self.recovery.clip_norm, result.grad_norm, result.skipped is not None
        clipped = clip is not None and norm is not None and norm > clip and not bad
        recent = progress.recent_losses
        return progress.model_copy(
            update={
                "step": progress.step + 1,
                "tokens": progress.tokens + sum(self.encoder.length(i) for i in indices),
                "samples": progress.samples + len(indices),
                "flops": progress.flops + sum(self.nominal_flops(i) for i in indices),
                "clipped": progress.clipped + int(clipped),
                "skipped": progress.skipped + int(bad),
                "skipped_in_a_row": progress.skipped_in_a_row + 1 if bad else 0,
                "recent_losses": recent if bad else window(recent, result.loss),
                "first_terms": progress.first_terms or ({} if bad else result.terms),
            }
        )

    def refuse_many_skips(self, progress: Progress, indices: list[int], result: StepResult) -> None:
        """Raise FloatingPointError when too many steps in a row had to be skipped."""
        if progress.skipped_in_a_row < MOST_IN_A_ROW:
            return
        ids = [self.encoder.data.conversations[i].id for i in indices[:8]]
        raise FloatingPointError(
            f"{MOST_IN_A_ROW} steps in a row were skipped, the last at step {progress.step - 1}, "
            f"because {result.skipped}; terms {result.terms}; samples {', '.join(ids)}"
            f"{' ...' if len(indices) > 8 else ''}. Lower the learning rate or clip gradients."
        )

    def save(self, engine: Any) -> None:
        """Write the trained tensors; every worker takes part in gathering them."""
        from deepspeed.utils import safe_get_full_fp32_param

        student = {k: p for k, p in self.trained.items() if not k.startswith("width_map.")}
        full = {name: safe_get_full_fp32_param(p) for name, p in student.items()}
        if self.rank == 0:
            plain = {name: value.detach().cpu().contiguous() for name, value in full.items()}
            gate = owned(self.job.folder, self.job.attempt)
            save_trained(self.job.folder / TRAINED, plain, self.recovery, gate)

    def report(
        self, progress: Progress, steps: int, last_terms: dict[str, float], stored: Progress | None
    ) -> RecoveryReport:
        """The report so far, of `steps`; `stored` is the progress that this attempt began with."""
        loss = self.recovery.loss
        return RecoveryReport(
            scope=self.recovery.scope,
            steps=progress.step,
            epochs=progress.samples / len(self.subset),
            tokens=progress.tokens,
            samples=progress.samples,
            tflops=progress.flops / 1e12,
            final_tflops=progress.flops / 1e12 * (steps / max(1, progress.step)),
            trained_params=sum(p.numel() for p in self.trained.values()),
            learning_rate=self.recovery.peak_learning_rate(steps),
            loss_terms=loss.terms,
            weights=(loss.alpha, loss.beta, loss.gamma),
            weights_normalised=loss.normalised,
            first_terms=progress.first_terms,
            last_terms=last_terms,
            first_grad_norms=progress.first_grad_norms,
            clipped_fraction=progress.clipped / max(1, progress.step),
            skipped_steps=progress.skipped,
            data_digest=self.encoder.data.subset_digest(self.subset),
            resumed_at_step=stored.step if stored else None,
            curves=CURVES,
            teacher=self.passes.teacher.name if self.passes.teacher else "none",
            gradient_checkpointing=self.job.gradient_checkpointing,
            micro_batch_halved=was_halved(self.job.folder),
            speed=self._speed(progress, stored or Progress()),
        )

    def _speed(self, progress: Progress, start: Progress) -> RecoverySpeed | None:
        if not self.seconds:
            return None
        return RecoverySpeed(
            seconds=self.seconds,
            tokens_per_second=(progress.tokens - start.tokens) / self.seconds,
            samples_per_second=(progress.samples - start.samples) / self.seconds,
            teacher_share=self.passes.teaching.seconds() / self.seconds,
            mfu=model_flops_utilisation(self.flops, self.seconds, self.device, self.world),
        )

    def _seed(self, step: int) -> None:
        seed = np.random.SeedSequence((self.job.spec.seeds.train, step, self.rank))
        torch.manual_seed(int(seed.generate_state(1)[0]))
