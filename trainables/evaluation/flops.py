"""Nominal FLOPs of recovery training: a cost axis that does not depend on the machine. Torch-free.

2 FLOPs per multiply-add; matrix products only (norms, activations, rotary embeddings and the
optimizer are left out); padding does not count; nothing counts as cached.

Notation: N weights of the language model's linears (head included, embedding lookup free), L those
of the LoRA updates, P of the projector; a = sum over layers of heads * head_dim; T tokens of a
sample, n of them from its image; V vision tower forward of one image.
    forward          2 (N + L) T + 4 a T^2 + 2 P n + V
    backward         2 N T (gradients of activations pass frozen weights) + 8 a T^2
                     + 4 L T + 4 P n (trained weights: gradients of activations and of weights)
    teacher forward  2 N_dense T + 4 a_dense T^2 + 2 P n + V, where the loss needs the teacher
Attention counts the full T x T square, as torch's flop counter does, not the causal half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainables.models.shape import LanguageShape
from trainables.specs import RecoverySpec


@dataclass(frozen=True)
class RecoveryFlops:
    """FLOPs of one training sample: per_token * T + per_squared_token * T^2 + per_image."""

    per_token: float
    per_squared_token: float
    per_image: float

    def per_sample(self, tokens: int, images: int = 1) -> float:
        """FLOPs of training on one sample of `tokens` tokens, its images' tokens included."""
        return (
            self.per_token * tokens + self.per_squared_token * tokens**2 + self.per_image * images
        )


def linear_weights(shape: LanguageShape, kept: Sequence[tuple[int, int]] | None = None) -> int:
    """N: weights of the language model's matrix products, head included.

    Args:
        shape: sizes of the dense language model.
        kept: (KV groups, neurons) of every kept layer; None is the dense model.
    """
    total = shape.vocab_size * shape.hidden_size
    for groups, neurons in _layers(shape, kept):
        attention = 2 * groups * (shape.heads_per_group + 1) * shape.head_dim
        total += shape.hidden_size * (attention + neurons * (3 if shape.gated else 2))
    return total


def lora_weights(shape: LanguageShape, kept: Sequence[tuple[int, int]] | None, rank: int) -> int:
    """L: weights of LoRA updates of this rank on every linear of the decoder layers."""
    total = 0
    for groups, neurons in _layers(shape, kept):
        query, key = groups * shape.heads_per_group * shape.head_dim, groups * shape.head_dim
        total += 2 * (shape.hidden_size + query) + 2 * (shape.hidden_size + key)
        total += (3 if shape.gated else 2) * (shape.hidden_size + neurons)
    return rank * total


def attention_channels(shape: LanguageShape, kept: Sequence[tuple[int, int]] | None = None) -> int:
    """a: query channels summed over the layers."""
    per_group = shape.heads_per_group * shape.head_dim
    return sum(groups * per_group for groups, _ in _layers(shape, kept))


def recovery_flops(
    shape: LanguageShape,
    kept: Sequence[tuple[int, int]] | None,
    recovery: RecoverySpec,
    *,
    vision_flops: float,
    projector_flops: float,
) -> RecoveryFlops:
    """Coefficients of the cost of one training sample, by the formulas of this module.

    Args:
        shape: sizes of the dense language model.
        kept: (KV groups, neurons) of every layer of the student; None is the dense model.
        recovery: scope, LoRA rank and loss.
        vision_flops: V, of one image (`efficiency.image_flops`).
        projector_flops: 2 P n, of one image.
    """
    if recovery.scope == "none":
        return RecoveryFlops(0.0, 0.0, 0.0)
    weights, channels = linear_weights(shape, kept), attention_channels(shape, kept)
    updates = lora_weights(shape, kept, recovery.lora_rank) if recovery.scope == "joint" else 0
    per_token = 4 * weights + 6 * updates
    per_squared_token = 12 * channels
    per_image = vision_flops + 3 * projector_flops
    if recovery.loss.needs_teacher:
        per_token += 2 * linear_weights(shape)
        per_squared_token += 4 * attention_channels(shape)
        per_image += vision_flops + projector_flops
    return RecoveryFlops(float(per_token), float(per_squared_token), float(per_image))


def _layers(
    shape: LanguageShape, kept: Sequence[tuple[int, int]] | None
) -> Sequence[tuple[int, int]]:
    if kept is not None:
        return kept
    return [(shape.num_key_value_heads, shape.intermediate_size)] * shape.num_hidden_layers
