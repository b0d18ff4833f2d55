"""What one recovery is given beside its models and data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainables.models.families.adapter import VLMAdapter
from trainables.models.work import RecoveryFlops
from trainables.specs import TrialSpec


@dataclass(frozen=True)
class RecoveryJob:
    """Where one recovery reads and writes, beside its spec.

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
