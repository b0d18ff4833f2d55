"""The dense model as teacher: eval mode, no gradients, its own projector, outside the engine."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from trainables.models.collation import Batch, move
from trainables.models.families.adapter import VLMAdapter
from trainables.recovery.loss.coverage import hidden_positions, logits_positions
from trainables.recovery.loss.layer_maps import TeacherNeeds
from trainables.recovery.loss.objective import hidden_states, image_token_of
from trainables.recovery.loss.targets import Targets
from trainables.specs import Covered


class OnlineTeacher:
    """Runs the dense model on every micro-batch; answers what is needed and no more."""

    name = "online"

    def __init__(self, model: nn.Module, needs: TeacherNeeds, adapter: VLMAdapter) -> None:
        """Take the dense model, which is set to eval mode."""
        self.model = model.eval()
        self.needs, self.adapter = needs, adapter
        head = model.lm_head
        assert isinstance(head, nn.Module)
        self.head = head if needs.logits else None

    @torch.no_grad()
    def __call__(self, indices: Sequence[int], batch: Batch) -> Targets:
        """One forward pass, cut down to the covered tokens; `indices` are not looked at."""
        weight = next(self.model.parameters())
        batch = move(batch, weight.device, weight.dtype)  # the student may compute in another type
        needs, image_token_id = self.needs, image_token_of(self.model, self.adapter)
        states = hidden_states(self.model, batch, needs.states[:-1], self.adapter)
        hidden = hidden_positions(batch, needs.hidden_tokens, image_token_id)
        logits = logits_positions(batch, needs.logits_tokens, image_token_id)
        return Targets(
            hidden=tuple(state[hidden] for state in states) if needs.states else (),
            final=states[-1][logits] if needs.logits else None,
        )


@torch.no_grad()
def mean_square(
    model: nn.Module,
    batches: Iterable[Batch],
    states: Sequence[int],
    tokens: Covered,
    adapter: VLMAdapter,
) -> list[float]:
    """The teacher's mean square of each of its `states` over the covered tokens.

    These are the divisors of the hidden term under `normalize="teacher"`; computed once per sweep
    on the calibration data, they let gamma carry over between models of another scale.
    """
    image_token_id = image_token_of(model, adapter)
    sums = [0.0] * len(states)
    count = 0
    for batch in batches:
        covered = hidden_positions(batch, tokens, image_token_id)
        for i, state in enumerate(hidden_states(model.eval(), batch, states[:-1], adapter)):
            sums[i] += float(state[covered].double().square().mean(-1).sum())
        count += int(covered.sum())
    return [value / count for value in sums]
