"""The dense model as teacher: eval mode, no gradients, its own projector, outside the engine."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from trainables.models.collation import Batch
from trainables.recovery.losses import (
    HiddenStates,
    answer_positions,
    hidden_positions,
    hidden_states,
)
from trainables.specs import LossSpec


class Teacher:
    """Answers what one loss mixture needs of the dense model, and no more."""

    def __init__(self, model: nn.Module, loss: LossSpec) -> None:
        self.model = model.eval()
        self.loss = loss

    @torch.no_grad()
    def __call__(self, batch: Batch) -> tuple[HiddenStates | None, Tensor | None]:
        """(hidden states, logits [N, V] on answer positions) of a micro-batch; None if unused."""
        if not self.loss.needs_teacher:
            return None, None
        k = self.loss.hidden_layers if self.loss.gamma else 1
        states = hidden_states(self.model, batch, k)
        if not self.loss.beta:
            return states, None
        covered = answer_positions(batch["labels"])
        logits: Tensor = self.model.lm_head(states.final[covered])  # type: ignore[operator]
        return states if self.loss.gamma else None, logits


@torch.no_grad()
def mean_square(
    model: nn.Module, batches: Iterable[Batch], k: int, tokens: str, image_token_id: int
) -> list[float]:
    """The teacher's mean square of each of its last k hidden states over the covered tokens.

    These are the divisors of the hidden term under `normalize="teacher"`; computed once per sweep
    on the calibration data, they let gamma carry over between models of another scale.
    """
    sums = [0.0] * k
    count = 0
    for batch in batches:
        covered = hidden_positions(batch, tokens, image_token_id)
        states = hidden_states(model.eval(), batch, k).states
        for i, state in enumerate(states):
            sums[i] += float(state[covered].double().square().mean(-1).sum())
        count += int(covered.sum())
    return [value / count for value in sums]
