"""Batched answers equal those of plain transformers, one question at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from trainables.evaluation import generation
from trainables.evaluation.generation import Question, answer
from trainables.models.llava import LLAVA_LLAMA

NEW_TOKENS = 5
Rows = Callable[..., list[dict[str, Any]]]


def questions(rows: list[dict[str, Any]], new_tokens: int = NEW_TOKENS) -> list[Question]:
    return [Question(r["question"], lambda r=r: [r["image"]], new_tokens) for r in rows]


def one_by_one(model: Any, processor: Any, rows: list[dict[str, Any]]) -> list[str]:
    """The reference: the processor's own inputs, batch 1, no padding, no shared images."""
    said = []
    for row in rows:
        prompt = f"USER: <image>\n{row['question']} ASSISTANT:"
        inputs = processor(text=prompt, images=row["image"], return_tensors="pt")
        with torch.no_grad():
            out = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        text = processor.tokenizer.decode(
            out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        said.append(text.strip())
    return said


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_batched_answers_equal_single_ones(
    model: Any, processor: Any, make_rows: Rows, batch_size: int
) -> None:
    rows = make_rows("attribute", 24, per_image=3)
    expected = one_by_one(model, processor, rows)
    assert len(set(expected)) > 5, "the random model must not say the same to everything"
    assert answer(model, processor, questions(rows), batch_size) == expected


def test_other_families_get_the_processors_own_inputs(
    model: Any, processor: Any, make_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(LLAVA_LLAMA, replays_vision=False)
    monkeypatch.setattr(generation, "adapter_for", lambda config: other)
    rows = make_rows("attribute", 9)
    assert answer(model, processor, questions(rows), 4) == one_by_one(model, processor, rows)


def test_each_distinct_image_is_encoded_once(
    build_model: Callable[..., Any],
    processor: Any,
    make_rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build_model()
    encoded: list[int] = []
    whole = model.get_image_features
    monkeypatch.setattr(
        model,
        "get_image_features",
        lambda pixel_values, **kw: encoded.append(len(pixel_values)) or whole(pixel_values, **kw),
    )
    answer(model, processor, questions(make_rows("attribute", 24, per_image=4)), 5)
    assert sum(encoded) == 6


def test_a_small_feature_cache_only_costs_time(
    model: Any, processor: Any, make_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows("attribute", 12, per_image=1)
    expected = answer(model, processor, questions(rows), 4)
    monkeypatch.setattr(generation, "FEATURE_CACHE_BYTES", 1)
    assert answer(model, processor, questions(rows), 4) == expected


def test_questions_without_image_or_with_two(
    model: Any, processor: Any, make_image: Callable[[int], Any]
) -> None:
    first, second = make_image(1), make_image(2)
    asked = [
        Question("what color ?", lambda: [], 3),
        Question("what color ?", lambda: [first, second], 3),
        Question("what color ?", lambda: [second, first], 3),
    ]
    together = answer(model, processor, asked, 3)
    assert together == [answer(model, processor, [q], 1)[0] for q in asked]


def test_answers_stop_at_their_own_length_and_stop_string(
    model: Any, processor: Any, make_rows: Rows
) -> None:
    rows = make_rows("attribute", 24, per_image=1)
    said = [text.split() for text in answer(model, processor, questions(rows), 24)]
    # One with five plain, distinct words, none of them a special token that is not shown.
    row, full = next((r, w) for r, w in zip(rows, said, strict=True) if len(set(w)) == NEW_TOKENS)
    mixed = [*questions([row], 2), *questions([row])]
    assert answer(model, processor, mixed, 2) == [" ".join(full[:2]), " ".join(full)]
    cut = Question(row["question"], lambda: [row["image"]], NEW_TOKENS, until=(full[1],))
    assert answer(model, processor, [cut], 1) == [full[0]]


def test_nan_logits_raise(build_model: Callable[..., Any], processor: Any, make_rows: Rows) -> None:
    model = build_model()
    with torch.no_grad():
        model.lm_head.weight[3, 0] = float("nan")
    with pytest.raises(ValueError, match="logits are NaN"):
        answer(model, processor, questions(make_rows("attribute", 2)), 2)
