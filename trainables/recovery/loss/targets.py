"""What the teacher answers to a micro-batch.

Everything is laid out by covered token: the rows of a micro-batch's covered tokens follow each
other sample by sample, in the order of the tokens, so that padding has no place in them.

States are counted as in `layer_maps`.

Shapes: N tokens that the hidden term covers, M positions that the logits term covers, H hidden
size, K kept log-probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from trainables.models.collation import Batch
from trainables.recovery.loss.layer_maps import TeacherNeeds
from trainables.recovery.loss.terms import TopK, term
from trainables.specs import LossSpec


@dataclass(frozen=True)
class Targets:
    """The teacher's answer on one micro-batch.

    Attributes:
        hidden: one [N, H] per asked state; () without the hidden term.
        final: the state that feeds the head [M, H], where the logits term needs it.
        top_k: in its place, if only that was kept.
    """

    hidden: tuple[Tensor, ...] = ()
    final: Tensor | None = None
    top_k: TopK | None = None


class Teacher(Protocol):
    """Answers for micro-batches, online or from a cache.

    Attributes:
        name: for the record: `online`, `cached` or `cached top_k`.
        head: the teacher's head, from a final state to logits; None where no logits are needed.
    """

    name: str
    head: nn.Module | None

    def __call__(self, indices: Sequence[int], batch: Batch) -> Targets:
        """Targets of the samples `indices` of the training data, collated as `batch`."""
        ...


def teacher_needs(loss: LossSpec, states: tuple[int, ...]) -> TeacherNeeds:
    """What the mixture asks, given the teacher's states of its hidden term."""
    needed = {term(name).needs for name in loss.weights}
    return TeacherNeeds(
        states=states if "states" in needed else (),
        hidden_tokens=loss.hidden_tokens,
        logits="final" in needed,
        logits_tokens=loss.logits_tokens,
        temperature=loss.temperature,
    )
