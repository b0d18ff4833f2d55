"""What a cache has to keep, and whom it serves."""

from __future__ import annotations

import pytest

from trainables.recovery.loss.layer_maps import TeacherNeeds
from trainables.recovery.teacher.cache_contents import CacheContents, cached_positions, contents_for
from trainables.specs import Covered, TeacherSpec


def needs(
    states: tuple[int, ...] = (),
    hidden: Covered = "all",
    logits: bool = False,
    tokens: Covered = "response",
) -> TeacherNeeds:
    return TeacherNeeds(states, hidden, logits, tokens, 2.0)


def hidden_form(positions: tuple[str, ...], states: tuple[int, ...] = (4,)) -> CacheContents:
    return CacheContents.model_validate(
        {"form": "hidden", "positions": positions, "states": states, "dtype": "float32"}
    )


@pytest.mark.parametrize(
    ("hidden", "logits", "positions"),
    [
        ("all", None, ("all",)),
        (None, "text", ("before_text",)),
        ("all", "text", ("all",)),
        ("text", "all", ("all",)),
        ("text", "text", ("before_text", "text")),
        ("text", "response", ("response", "text")),
        ("response", "text", ("before_text",)),
        ("response", "response", ("response",)),
    ],
)
def test_positions_of_both_terms(
    hidden: Covered | None, logits: Covered | None, positions: tuple[str, ...]
) -> None:
    assert cached_positions(hidden, logits) == positions


def test_the_least_that_serves_a_mixture() -> None:
    spec = TeacherSpec()
    l2 = contents_for(needs((3, 4)), spec, 4, "bfloat16")
    assert l2 == CacheContents(form="hidden", positions=("all",), states=(3, 4), dtype="bfloat16")
    kl = contents_for(needs(logits=True), spec, 4, "bfloat16")
    assert kl == CacheContents(
        form="hidden", positions=("response",), states=(4,), dtype="bfloat16"
    )
    both = contents_for(needs((3, 4), logits=True), TeacherSpec(dtype="float32"), 4, "bfloat16")
    assert both == l2.model_copy(update={"dtype": "float32"})
    assert l2.token_bytes(4096) == 2 * 4096 * 2
    top = contents_for(needs(logits=True), TeacherSpec(form="top_k", top_k=32), 4, "bfloat16")
    assert (top.states, top.top_k, top.temperature, top.token_bytes(4096)) == ((), 32, 2.0, 192)


def test_top_k_has_no_hidden_states() -> None:
    with pytest.raises(ValueError, match=r"needs the teacher's states \(4,\); set teacher.form"):
        contents_for(needs((4,), logits=True), TeacherSpec(form="top_k"), 4, "float32")


def test_more_serves_less_and_never_the_other_way_round() -> None:
    whole, response = hidden_form(("all",), (3, 4)), hidden_form(("response",))
    assert whole.serves(response)
    assert not response.serves(whole)
    assert hidden_form(("before_text",)).serves(response)
    assert not hidden_form(("text",)).serves(response)  # what precedes an answer may be an image
    assert not hidden_form(("all",)).serves(hidden_form(("all",), (3, 4)))
    assert not whole.serves(response.model_copy(update={"dtype": "bfloat16"}))
    top = CacheContents(form="top_k", positions=("all",), top_k=8, temperature=2.0)
    assert top.serves(top.model_copy(update={"positions": ("response",)}))
    assert not top.serves(top.model_copy(update={"temperature": 1.0}))
    assert not top.serves(response)
    assert not whole.serves(top)
