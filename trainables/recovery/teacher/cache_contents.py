"""What a cache holds of the teacher's answers, and which needs that serves. Torch-free.

A cache that holds more positions or more states serves whoever needs fewer.
"""

from __future__ import annotations

from typing import Literal

from trainables.recovery.loss.layer_maps import TeacherNeeds
from trainables.specs import DTYPE_BYTES, Covered, Dtype, Frozen, LossSpec, TeacherSpec

# Sets of a sample's positions (see `coverage`): all tokens; text tokens; those right before a text
# token; those right before an answer's token.
Positions = Literal["all", "text", "before_text", "response"]
# Answers are text, so what precedes an answer's token precedes a text token.
_INSIDE: dict[Positions, set[Positions]] = {
    "all": {"all"},
    "text": {"all", "text"},
    "before_text": {"all", "before_text"},
    "response": {"all", "before_text", "response"},
}
_WORDS: dict[Positions, str] = {
    "all": "all tokens",
    "text": "text tokens",
    "before_text": "the tokens before text",
    "response": "the tokens before answers",
}
TOP_K_BYTES = 6  # a float16 and an int32
INDEX_BYTES = 80  # a sample's entry in its shard's metadata


class CacheContents(Frozen):
    """What a cache holds of each sample; part of its content key.

    Attributes:
        form: hidden states, or the largest log-probabilities.
        positions: their union is cached; none of them lies within another.
        states: of the teacher (see `layer_maps`), rising; () for `top_k`.
        dtype: of the states; None for `top_k`.
        top_k: how many log-probabilities; None for `hidden`.
        temperature: theirs; None for `hidden`.
    """

    form: Literal["hidden", "top_k"]
    positions: tuple[Positions, ...]
    states: tuple[int, ...] = ()
    dtype: Dtype | None = None
    top_k: int | None = None
    temperature: float | None = None

    def serves(self, other: CacheContents) -> bool:
        """Whether everything in `other` is here too."""
        varying = {"positions", "states"}
        if self.model_dump(exclude=varying) != other.model_dump(exclude=varying):
            return False
        if not set(other.states) <= set(self.states):
            return False
        return all(_INSIDE[wanted] & set(self.positions) for wanted in other.positions)

    @property
    def about(self) -> str:
        """In words, e.g. `1 hidden state of all tokens, bfloat16`."""
        tokens = " and ".join(_WORDS[one] for one in self.positions)
        if self.form == "top_k":
            return f"top {self.top_k} log-probabilities of {tokens}"
        states = "hidden state" if len(self.states) == 1 else "hidden states"
        return f"{len(self.states)} {states} of {tokens}, {self.dtype}"

    def token_bytes(self, hidden_size: int) -> int:
        """Bytes of one cached token."""
        if self.form == "top_k":
            return TOP_K_BYTES * (self.top_k or 0)
        return len(self.states) * hidden_size * DTYPE_BYTES[self.dtype or "float32"]


def contents_for(
    needs: TeacherNeeds, teacher: TeacherSpec, layers: int, compute: Dtype
) -> CacheContents:
    """The least that serves the needs.

    `layers` are the teacher's, whose last state feeds the head; `compute` is the type in which it
    computes.

    Raises:
        ValueError: hidden states are needed, but the form holds none.
    """
    positions = cached_positions(
        needs.hidden_tokens if needs.states else None, needs.logits_tokens if needs.logits else None
    )
    if teacher.form == "top_k":
        if needs.states:
            raise ValueError(
                "teacher.form='top_k' keeps log-probabilities alone, but the hidden term needs "
                f"the teacher's states {needs.states}; set teacher.form='hidden'"
            )
        k, temperature = teacher.top_k, needs.temperature
        return CacheContents(form="top_k", positions=positions, top_k=k, temperature=temperature)
    states = tuple(sorted({*needs.states, *((layers,) if needs.logits else ())}))
    dtype = compute if teacher.dtype == "auto" else teacher.dtype
    return CacheContents(form="hidden", positions=positions, states=states, dtype=dtype)


def contents_of_loss(
    loss: LossSpec, teacher: TeacherSpec, layers: int, compute: Dtype
) -> CacheContents:
    """The same from the loss alone, as if its layer map were `last`; others need as many states."""
    first = layers - loss.hidden_layers + 1
    states = tuple(range(first, layers + 1)) if loss.gamma else ()
    logits, temperature = loss.beta > 0, loss.temperature
    needs = TeacherNeeds(states, loss.hidden_tokens, logits, loss.logits_tokens, temperature)
    return contents_for(needs, teacher, layers, compute)


def cached_positions(hidden: Covered | None, logits: Covered | None) -> tuple[Positions, ...]:
    """What both terms cover together, as few sets as possible; None is a term without weight."""
    wanted: set[Positions] = {hidden} if hidden else set()
    if logits:
        wanted.add("before_text" if logits == "text" else logits)
    return tuple(sorted(one for one in wanted if not (_INSIDE[one] - {one}) & wanted))
