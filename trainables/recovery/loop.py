"""The recovery training loop: a DeepSpeed engine around the student and its loss.

Runs inside Ray Train's `TorchTrainer` (see `trainables.launch`) on one worker or several, and needs
no more than a process group; it never imports ray.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainables.evaluation.flops import RecoveryFlops
from trainables.models.adapter import VLMAdapter
from trainables.models.collation import Batch
from trainables.records import RecoveryReport
from trainables.recovery import checkpoint
from trainables.recovery.batches import Encoder
from trainables.recovery.checkpoint import Progress
from trainables.recovery.losses import Coverage, RecoveryObjective, coverage, total_loss
from trainables.recovery.order import take_batches
from trainables.recovery.packing import micro_batches
from trainables.recovery.process_group import import_deepspeed, rank_and_world
from trainables.recovery.schedule import learning_rate_at, total_steps
from trainables.recovery.student import prepare_student, save_trained
from trainables.recovery.teacher import Teacher
from trainables.specs import TrialSpec

CURVES = "curves.jsonl"
TRAINED = "recovered.safetensors"
OnRung = Callable[[int, RecoveryReport, nn.Module], None]


@dataclass(frozen=True)
class RecoveryJob:
    """Where one recovery reads and writes, beside its spec.

    Attributes:
        spec: the trial.
        folder: the trial's folder; curves, checkpoint and trained tensors go there.
        attempt: id of this attempt; a stale one may not write.
        adapter: table of the student's architecture.
        hidden_scale: divisors of the hidden term, one per distilled state.
        flops: nominal cost of training on one sample.
    """

    spec: TrialSpec
    folder: Path
    attempt: str
    adapter: VLMAdapter
    hidden_scale: tuple[float, ...]
    flops: RecoveryFlops


def recover(
    student: nn.Module,
    teacher: nn.Module,
    encoder: Encoder,
    job: RecoveryJob,
    on_rung: OnRung | None = None,
) -> RecoveryReport:
    """Train the student and write `recovered.safetensors`; resumes from the folder's checkpoint.

    Args:
        student: the pruned model; trained in place.
        teacher: the dense model; never changed.
        encoder: the training conversations.
        job: spec and folder.
        on_rung: called after each rung of `spec.rungs` with its index, the report so far and the
            student; whatever it raises ends the recovery.

    Returns:
        Length, cost and course of the training.

    Raises:
        FloatingPointError: a loss term is not finite; names the step and the samples.
    """
    spec, recovery = job.spec, job.spec.recovery
    rank, world = rank_and_world()
    torch.manual_seed(spec.seeds.train)
    trained = prepare_student(student, job.adapter, recovery)
    student.train()
    subset = encoder.data.subset(recovery.data_fraction, spec.seeds.data)
    run = _Run(student, teacher, encoder, job, trained, subset, rank, world)
    steps = total_steps(recovery, subset, spec.seeds.data, encoder.length, run.flops)

    stored = checkpoint.load_progress(job.folder)
    progress = stored or Progress(first_grad_norms=run.first_grad_norms())
    if stored is not None:
        checkpoint.restore_weights(job.folder, trained)
    engine = run.initialize()
    if stored is not None:
        run.dummy_step(engine)
        checkpoint.restore_state(job.folder, engine, trained)
    curves = _Curves(job.folder / CURVES, progress.step) if rank == 0 else None
    rungs = {max(1, round(r * steps)): i for i, r in enumerate(spec.rungs)}
    recent = max(1, steps // 10)
    for step, indices in enumerate(take_batches(subset, spec.seeds.data, recovery.batch_size)):
        if step < progress.step:
            continue
        if step == steps:
            break
        terms, norm = run.step(engine, indices, step, learning_rate_at(step, steps, recovery))
        clipped = recovery.clip_norm is not None and norm is not None and norm > recovery.clip_norm
        progress = progress.model_copy(
            update={
                "step": step + 1,
                "tokens": progress.tokens + sum(encoder.length(i) for i in indices),
                "samples": progress.samples + len(indices),
                "flops": progress.flops + sum(run.flops(i) for i in indices),
                "clipped": progress.clipped + int(clipped),
                "first_terms": progress.first_terms or terms,
            }
        )
        if curves:
            curves.write(step, norm, terms)
        every = recovery.checkpoint_every_steps
        if every and progress.step % every == 0 and progress.step < steps:
            checkpoint.save_checkpoint(job.folder, engine, trained, progress, job.attempt)
        if on_rung and progress.step in rungs and progress.step < steps:
            student.eval()
            last = curves.mean(recent) if curves else {}
            on_rung(rungs[progress.step], run.report(progress, subset, last, stored), student)
            student.train()
    run.save(engine)
    return run.report(progress, subset, curves.mean(recent) if curves else {}, stored)


class _Run:
    """The fixed surroundings of one recovery; no training state of its own."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        encoder: Encoder,
        job: RecoveryJob,
        trained: dict[str, nn.Parameter],
        subset: np.ndarray,
        rank: int,
        world: int,
    ) -> None:
        self.encoder, self.job, self.trained, self.subset = encoder, job, trained, subset
        self.rank, self.world = rank, world
        self.spec = job.spec.recovery
        self.loss = self.spec.loss
        config = student.config.to_dict()  # type: ignore[union-attr, operator]
        self.image_token = job.adapter.image_token_id(config)
        self.objective = RecoveryObjective(student, self.loss, self.image_token)
        self.teacher = Teacher(teacher, self.loss)
        self.device = next(student.parameters()).device

    def flops(self, index: int) -> float:
        """Nominal FLOPs of training on one sample."""
        images = len(self.encoder.images(index))
        return self.job.flops.per_sample(self.encoder.length(index), images)

    def micro_batches(self, indices: list[int]) -> list[list[int]]:
        length, most = self.encoder.length, self.spec.micro_batch_size
        return micro_batches(indices, length, self.world, most)[self.rank]

    def terms(self, module: Any, indices: list[int], total: Coverage) -> dict[str, Tensor]:
        batch: Batch = {k: v.to(self.device) for k, v in self.encoder.batch(indices).items()}
        if "pixel_values" in batch:
            batch["pixel_values"] = batch["pixel_values"].to(
                next(iter(self.trained.values())).dtype
            )
        states, logits = self.teacher(batch)
        terms: dict[str, Tensor] = module(batch, total, states, logits, self.job.hidden_scale)
        return terms

    def coverage(self, indices: list[int]) -> Coverage:
        return coverage((self.encoder.tokens(i) for i in indices), self.loss, self.image_token)

    def first_grad_norms(self) -> dict[str, float]:
        """Gradient norm of each weighted term on the first global batch, before any step."""
        if self.spec.zero_stage == 3 and self.world > 1:
            return {}  # whole gradients may not fit where the weights are partitioned
        first = next(take_batches(self.subset, self.job.spec.seeds.data, self.spec.batch_size))
        total = self.coverage(first)
        parameters = list(self.trained.values())
        sums: dict[str, list[Tensor]] = {}
        for indices in self.micro_batches(first):
            terms = self.terms(self.objective, indices, total)
            for position, (name, value) in enumerate(terms.items()):
                weighted = total_loss({name: value}, self.loss)
                grads = torch.autograd.grad(
                    weighted, parameters, retain_graph=position < len(terms) - 1, allow_unused=True
                )
                dense = [
                    torch.zeros_like(p) if g is None else g
                    for p, g in zip(parameters, grads, strict=True)
                ]
                old = sums.get(name)
                sums[name] = (
                    dense if old is None else [a + b for a, b in zip(old, dense, strict=True)]
                )
        norms = {}
        for name, grads_of_term in sums.items():
            if self.world > 1:
                for grad in grads_of_term:
                    dist.all_reduce(grad)
            squares = torch.stack([g.float().square().sum() for g in grads_of_term])
            norms[name] = float(squares.sum().sqrt())
        self._refuse_not_finite("gradient norms are", norms, 0, first)
        return norms

    def _refuse_not_finite(
        self, what: str, values: dict[str, float], step: int, indices: list[int]
    ) -> None:
        if np.isfinite(list(values.values())).all():
            return
        ids = [self.encoder.data.conversations[i].id for i in indices[:8]]
        raise FloatingPointError(
            f"{what} not finite at step {step}: {values}; samples {', '.join(ids)}"
            f"{' ...' if len(indices) > 8 else ''}. Lower the learning rate or clip gradients."
        )

    def initialize(self) -> Any:
        deepspeed = import_deepspeed()
        optimizer = torch.optim.AdamW(
            self.trained.values(),
            lr=0.0,  # set before each step
            betas=(0.9, 0.999),
            weight_decay=self.spec.weight_decay,
        )
        numel = sum(p.numel() for p in self.trained.values())
        parts = len(self.micro_batches(list(range(self.spec.batch_size))))
        config = {
            "train_micro_batch_size_per_gpu": self.spec.micro_batch_size,
            "gradient_accumulation_steps": parts,
            "gradient_clipping": self.spec.clip_norm or 0.0,
            "bf16": {"enabled": self.device.type == "cuda"},
            "zero_allow_untested_optimizer": True,
            "zero_optimization": {
                "stage": self.spec.zero_stage,
                "reduce_bucket_size": max(numel, 1),
                "allgather_bucket_size": max(numel, 1),
            },
            "steps_per_print": 10**9,
        }
        engine, *_ = deepspeed.initialize(
            model=self.objective, optimizer=optimizer, config=config, dist_init_required=False
        )
        return engine

    def step(
        self, engine: Any, indices: list[int], step: int, rate: float
    ) -> tuple[dict[str, float], float | None]:
        """One optimizer step; (unweighted terms over all workers, gradient norm)."""
        total = self.coverage(indices)
        for group in engine.optimizer.param_groups:
            group["lr"] = rate
        micro_batches = self.micro_batches(indices)
        sums: dict[str, Tensor] = {}
        for part in micro_batches:
            terms = self.terms(engine, part, total)
            # DeepSpeed averages over accumulation and workers; our terms are sums over both.
            engine.backward(total_loss(terms, self.loss) * (len(micro_batches) * self.world))
            engine.step()
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()
        stacked = torch.stack(list(sums.values()))
        if self.world > 1:
            dist.all_reduce(stacked)
        values = dict(zip(sums, stacked.tolist(), strict=True))
        self._refuse_not_finite("loss terms are", values, step, indices)
        norm = engine.get_global_grad_norm()
        return values, None if norm is None else float(norm)

    def dummy_step(self, engine: Any) -> None:
        """Make the optimizer allocate its state for a restore; at rate 0 no weight changes."""
        first = next(take_batches(self.subset, self.job.spec.seeds.data, self.spec.batch_size))
        self.step(engine, first, 0, 0.0)

    def save(self, engine: Any) -> None:
        from deepspeed.utils import safe_get_full_fp32_param

        full = {name: safe_get_full_fp32_param(p) for name, p in self.trained.items()}
        if self.rank == 0:
            checkpoint.refuse_stale(self.job.folder, self.job.attempt)
            plain = {name: value.detach().cpu().contiguous() for name, value in full.items()}
            save_trained(self.job.folder / TRAINED, plain, self.spec)

    def report(
        self,
        progress: Progress,
        subset: np.ndarray,
        last_terms: dict[str, float],
        stored: Progress | None,
    ) -> RecoveryReport:
        return RecoveryReport(
            scope=self.spec.scope,
            steps=progress.step,
            epochs=progress.samples / len(subset),
            tokens=progress.tokens,
            samples=progress.samples,
            tflops=progress.flops / 1e12,
            trained_params=sum(p.numel() for p in self.trained.values()),
            learning_rate=self.spec.resolved_learning_rate,
            loss_terms=self.loss.terms,
            weights=(self.loss.alpha, self.loss.beta, self.loss.gamma),
            weights_normalised=self.loss.normalised,
            first_terms=progress.first_terms,
            last_terms=last_terms,
            first_grad_norms=progress.first_grad_norms,
            clipped_fraction=progress.clipped / max(1, progress.step),
            data_digest=self.encoder.data.subset_digest(subset),
            resumed_at_step=stored.step if stored else None,
            curves=CURVES,
        )


class _Curves:
    """One JSON line per step; a resumed trial drops the lines after its checkpoint."""

    def __init__(self, path: Path, resumed_at: int) -> None:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = lines[:resumed_at]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._path = path

    def write(self, step: int, grad_norm: float | None, terms: dict[str, float]) -> None:
        row = {"step": step, "grad_norm": grad_norm, **terms}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def mean(self, steps: int) -> dict[str, float]:
        """Each term's mean over the last `steps` steps, those before a resume included."""
        lines = self._path.read_text(encoding="utf-8").splitlines()[-steps:]
        rows = [json.loads(line) for line in lines]
        names = [name for name in (rows or [{}])[0] if name not in ("step", "grad_norm")]
        return {name: float(np.mean([row[name] for row in rows])) for name in names}
