"""Nominal FLOPs of recovery training: a cost axis that does not depend on the machine. Torch-free.

2 FLOPs per multiply-add; matrix products only (norms, activations, rotary embeddings and the
optimizer are left out); padding does not count; nothing counts as cached.

Notation: N weights of the language model's linears (head included, embedding lookup free), L those
of LoRA updates on all of them, P of the projector; a = sum over layers of heads * head_dim; T
tokens of a sample, n of them from its image; V vision tower forward of one image.
    forward          2 (N + L) T + 4 a T^2 + 2 P n + V
    backward         2 N T (gradients of activations pass frozen weights) + 8 a T^2
                     + 4 L T + 4 P n (trained weights: gradients of activations and of weights)
                     + 2 N T where the whole language model is trained
    teacher forward  2 N_dense T + 4 a_dense T^2 + 2 P n + V, where the loss needs the teacher
Attention counts the full T x T square, as torch's flop counter does, not the causal half.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trainables.models.families.shape import LanguageShape
from trainables.specs import RecoverySpec


@dataclass(frozen=True)
class SampleFlops:
    """FLOPs of one sample: per_token * T + per_squared_token * T^2 + per_image."""

    per_token: float = 0.0
    per_squared_token: float = 0.0
    per_image: float = 0.0

    def of(self, tokens: float, images: float) -> float:
        """FLOPs of a sample of `tokens` tokens, its images' tokens included."""
        return (
            self.per_token * tokens + self.per_squared_token * tokens**2 + self.per_image * images
        )


@dataclass(frozen=True)
class RecoveryFlops:
    """FLOPs of one training sample, by what computes them.

    Attributes:
        student: forward and backward pass, without the vision tower.
        teacher: forward pass, without the vision tower; None where the loss needs no teacher.
        vision: one pass of the vision tower over one image.
    """

    student: SampleFlops = SampleFlops()
    teacher: SampleFlops | None = None
    vision: float = 0.0

    def per_sample(self, tokens: float, images: float = 1) -> float:
        """Nominal FLOPs: the student, and the teacher if there is one, each with its tower."""
        return self.computed(tokens, images, teacher=True)

    def computed(self, tokens: float, images: float, *, teacher: bool) -> float:
        """FLOPs that a step really computes for this sample, with or without the teacher."""
        models = [self.student, self.teacher] if teacher and self.teacher else [self.student]
        return sum(model.of(tokens, images) + self.vision * images for model in models)


def linear_weights(shape: LanguageShape, kept: Sequence[tuple[int, int]] | None = None) -> int:
    """N: weights of the language model's matrix products, head included.

    Args:
        shape: sizes of the dense language model.
        kept: (KV groups, neurons) of every kept layer; None is the dense model.
    """
    layers = (shape.linears(*widths).values() for widths in shape.widths(kept))
    return shape.vocab_size * shape.hidden_size + sum(r * c for layer in layers for r, c in layer)


def lora_weights(shape: LanguageShape, kept: Sequence[tuple[int, int]] | None, rank: int) -> int:
    """L: weights of LoRA updates of this rank on every linear of the decoder layers."""
    layers = (shape.linears(*widths).values() for widths in shape.widths(kept))
    return rank * sum(r + c for layer in layers for r, c in layer)


def attention_channels(shape: LanguageShape, kept: Sequence[tuple[int, int]] | None = None) -> int:
    """a: query channels summed over the layers."""
    return sum(shape.linears(*widths)["q"][0] for widths in shape.widths(kept))


def recovery_flops(
    shape: LanguageShape,
    kept: Sequence[tuple[int, int]] | None,
    recovery: RecoverySpec,
    *,
    vision_flops: float,
    projector_flops: float,
    teacher: LanguageShape | None = None,
) -> RecoveryFlops:
    """Coefficients of the cost of one training sample, by the formulas of this module.

    Args:
        shape: sizes of the dense language model.
        kept: (KV groups, neurons) of every layer of the student; None is the dense model.
        recovery: its scope, LoRA rank and loss are read.
        vision_flops: V, of one image (`efficiency.image_flops`).
        projector_flops: 2 P n, of one image.
        teacher: sizes of the teacher's language model; None is the dense one.
    """
    if recovery.scope == "none":
        return RecoveryFlops()
    weights, channels = linear_weights(shape, kept), attention_channels(shape, kept)
    per_token = (6 if recovery.scope == "full" else 4) * weights
    if recovery.scope == "joint":
        per_token += 6 * lora_weights(shape, kept, recovery.lora_rank)
    student = SampleFlops(float(per_token), 12.0 * channels, 3 * projector_flops)
    if not recovery.loss.needs_teacher:
        return RecoveryFlops(student, vision=vision_flops)
    taller = teacher or shape
    forward = SampleFlops(
        2.0 * linear_weights(taller), 4.0 * attention_channels(taller), projector_flops
    )
    return RecoveryFlops(student, forward, vision_flops)
