"""What a cache keeps of the teacher's answers, and which needs that serves. Torch-free.

A cache that keeps more positions or more states serves whoever needs fewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from trainables.specs import DTYPE_BYTES, Covered, Dtype, Frozen, LossSpec, TeacherSpec

if TYPE_CHECKING:
    from trainables.recovery.loss.targets import TeacherNeeds

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


class Kept(Frozen):
    """What a cache keeps of each sample; part of its content key.

    Attributes:
        form: hidden states, or the largest log-probabilities.
        positions: their union is kept; none of them lies within another.
        states: of the teacher (see `targets`), rising; () for `top_k`.
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

    def serves(self, other: Kept) -> bool:
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
        """Bytes of one kept token."""
        if self.form == "top_k":
            return TOP_K_BYTES * (self.top_k or 0)
        return len(self.states) * hidden_size * DTYPE_BYTES[self.dtype or "float32"]


def kept_for(needs: TeacherNeeds, teacher: TeacherSpec, layers: int, compute: Dtype) -> Kept:
    """The least that serves the needs.

    Args:
        needs: of the loss mixture.
        teacher: form and type of what is kept.
        layers: of the teacher; its last state feeds the head.
        compute: the type in which the teacher computes.

    Raises:
        ValueError: hidden states are needed, but the form keeps none.
    """
    if teacher.form == "top_k" and needs.states:
        raise ValueError(
            "teacher.form='top_k' keeps log-probabilities alone, but the hidden term needs "
            f"the teacher's states {needs.states}; set teacher.form='hidden'"
        )
    hidden = needs.hidden_tokens if needs.states else None
    logits = needs.logits_tokens if needs.logits else None
    states = {*needs.states, *((layers,) if needs.logits else ())}
    return _kept(hidden, logits, tuple(sorted(states)), teacher, needs.temperature, compute)


def kept_by(loss: LossSpec, teacher: TeacherSpec, layers: int, compute: Dtype) -> Kept:
    """The same from the loss alone, as if its layer map were `last`; others keep as many states."""
    hidden = loss.hidden_tokens if loss.gamma else None
    logits = loss.logits_tokens if loss.beta else None
    count = loss.hidden_layers if loss.gamma else 1
    states = tuple(range(layers - count + 1, layers + 1))
    return _kept(hidden, logits, states, teacher, loss.temperature, compute)


def positions_kept(hidden: Covered | None, logits: Covered | None) -> tuple[Positions, ...]:
    """What both terms cover together, as few sets as possible; None is a term without weight."""
    wanted: set[Positions] = {hidden} if hidden else set()
    if logits:
        wanted.add("before_text" if logits == "text" else logits)
    return tuple(sorted(one for one in wanted if not (_INSIDE[one] - {one}) & wanted))


def _kept(
    hidden: Covered | None,
    logits: Covered | None,
    states: tuple[int, ...],
    teacher: TeacherSpec,
    temperature: float,
    compute: Dtype,
) -> Kept:
    positions = positions_kept(hidden, logits)
    if teacher.form == "top_k":
        return Kept(form="top_k", positions=positions, top_k=teacher.top_k, temperature=temperature)
    dtype = compute if teacher.dtype == "auto" else teacher.dtype
    return Kept(form="hidden", positions=positions, states=states, dtype=dtype)
