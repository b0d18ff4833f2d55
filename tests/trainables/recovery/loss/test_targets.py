"""Layer maps by hand, and which tokens each term covers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainables.recovery.loss.coverage import (
    answer_positions,
    coverage,
    hidden_positions,
    logits_positions,
)
from trainables.recovery.loss.layer_maps import student_states, teacher_states
from trainables.recovery.loss.targets import teacher_needs
from trainables.specs import LossSpec

IMAGE_TOKEN = 63


@pytest.mark.parametrize(
    ("layer_map", "expected"),
    [("last", (6, 7, 8)), ("kept", (2, 6, 8)), ("uniform", (4, 6, 8))],
)
def test_layer_maps_by_hand(layer_map: str, expected: tuple[int, ...]) -> None:
    # Layers 0, 1, 5 and 7 of 8 are kept: states 2, 3, 4 of the student are the outputs of the
    # dense layers 1, 5 and 7, that is states 2, 6 and 8 of the teacher.
    loss = LossSpec(gamma=1, hidden_layers=3, layer_map=layer_map)
    assert student_states(loss, 4) == (2, 3, 4)
    assert teacher_states(loss, (0, 1, 5, 7), 8) == expected


def test_the_last_state_always_faces_the_last() -> None:
    # The dense model's last layer was removed, yet the state after the norm has one counterpart.
    loss = LossSpec(gamma=1, hidden_layers=2, layer_map="kept")
    assert teacher_states(loss, (0, 2, 4), 6) == (3, 6)


def test_more_states_than_layers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden_layers=5.*only 4 layers"):
        student_states(LossSpec(gamma=1, hidden_layers=5), 4)


def test_a_teacher_without_those_layers_is_refused() -> None:
    loss = LossSpec(gamma=1, hidden_layers=3, layer_map="kept")
    with pytest.raises(
        ValueError, match=r"layer_map='kept' needs more layers than the teacher's 4"
    ):
        teacher_states(loss, (0, 1, 5, 7), 4)
    with pytest.raises(ValueError, match=r"hidden_layers=3.*than the teacher's 2"):
        teacher_states(LossSpec(gamma=1, hidden_layers=3), (0, 1, 2), 2)


def test_a_loss_asks_for_no_more_than_it_needs() -> None:
    assert teacher_needs(LossSpec(beta=1), (8,)).states == ()
    needs = teacher_needs(LossSpec(gamma=1), (8,))
    assert needs.states == (8,)
    assert not needs.logits


def test_positions(batch: dict[str, Any]) -> None:
    labels, mask, ids = batch["labels"], batch["attention_mask"].bool(), batch["input_ids"]
    answers = answer_positions(labels)
    assert int(answers.sum()) == int((labels[:, 1:] != -100).sum())
    assert not bool(answers[:, -1].any())
    assert torch.equal(hidden_positions(batch, "all", IMAGE_TOKEN), mask)
    text = (ids != IMAGE_TOKEN) & mask
    assert torch.equal(hidden_positions(batch, "text", IMAGE_TOKEN), text)
    assert torch.equal(hidden_positions(batch, "response", IMAGE_TOKEN), answers)
    assert torch.equal(logits_positions(batch, "all", IMAGE_TOKEN), mask)
    before_text = logits_positions(batch, "text", IMAGE_TOKEN)
    assert torch.equal(before_text[:, :-1], text[:, 1:] & mask[:, :-1])
    assert torch.equal(logits_positions(batch, "response", IMAGE_TOKEN), answers)


@pytest.mark.parametrize("tokens", ["all", "text", "response"])
def test_counts_equal_the_positions(batch: dict[str, Any], tokens: str) -> None:
    loss = LossSpec(beta=1, gamma=1, logits_tokens=tokens, hidden_tokens=tokens)
    samples = [
        (ids[mask.bool()].tolist(), labels[mask.bool()].tolist())
        for ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        )
    ]
    counted = coverage(samples, loss, IMAGE_TOKEN)
    assert counted.answer == int(answer_positions(batch["labels"]).sum())
    assert counted.logits == int(logits_positions(batch, tokens, IMAGE_TOKEN).sum())
    assert counted.hidden == int(hidden_positions(batch, tokens, IMAGE_TOKEN).sum())
