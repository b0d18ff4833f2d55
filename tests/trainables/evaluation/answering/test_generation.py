"""Batched answers equal those of plain transformers, one question at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.greedy_answers import answer

from trainables.evaluation.answering import prompt_encoder
from trainables.evaluation.answering.generation import Answerer, Question
from trainables.models.families.llava import LLAVA_LLAMA

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
    monkeypatch.setattr(prompt_encoder, "adapter_for", lambda config: other)
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
    monkeypatch.setattr(prompt_encoder, "FEATURE_CACHE_BYTES", 1)
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


def test_no_token_is_generated_past_a_stop_string(
    build_model: Callable[..., Any],
    processor: Any,
    make_rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last of a batch's answers to reach its stop string ends the batch."""
    model = build_model()
    rows = make_rows("attribute", 60, per_image=1)
    said = [text.split() for text in answer(model, processor, questions(rows), 60)]
    # All of their words are shown, and the first four differ.
    pairs = zip(rows, said, strict=True)
    chosen = [(r, w) for r, w in pairs if len(w) == NEW_TOKENS and len(set(w[:4])) == 4][:2]
    assert len(chosen) == 2
    steps: list[int] = []
    whole = model.forward
    monkeypatch.setattr(model, "forward", lambda *a, **kw: steps.append(1) or whole(*a, **kw))
    for stops, expected in (((1, 2), 3), ((0, 3), 4)):
        asked = [
            Question(row["question"], lambda row=row: [row["image"]], 24, until=(words[at],))
            for (row, words), at in zip(chosen, stops, strict=True)
        ]
        steps.clear()
        given = Answerer(model, processor, 2)(asked)
        assert [a.text.split() for a in given] == [
            words[:at] for (_, words), at in zip(chosen, stops, strict=True)
        ]
        assert len(steps) == expected
        assert not any(a.unfinished for a in given)


def test_answers_that_the_length_limit_cut_off_are_marked(
    build_model: Callable[..., Any], processor: Any, make_rows: Rows
) -> None:
    """Independently: an answer is unfinished where a longer limit gives more than the limit."""
    model, limit = build_model(), 3
    rows = make_rows("attribute", 24, per_image=1)
    model.generation_config.eos_token_id = [2, 9]
    short = Answerer(model, processor, 8)(questions(rows, limit))
    inputs = [
        processor(text=f"USER: <image>\n{r['question']} ASSISTANT:", images=r["image"],
                  return_tensors="pt")
        for r in rows
    ]  # fmt: skip
    for given, one in zip(short, inputs, strict=True):
        with torch.no_grad():
            out = model.generate(**one, max_new_tokens=24, do_sample=False, pad_token_id=0)
        new = out[0, one["input_ids"].shape[1] :].tolist()
        ended = next((i + 1 for i, token in enumerate(new) if token in (2, 9)), 25)
        assert given.unfinished == (ended > limit)
    assert 0 < sum(a.unfinished for a in short) < len(short)


def test_batches_are_halved_where_memory_runs_out(
    build_model: Callable[..., Any],
    processor: Any,
    make_rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = build_model()
    rows = make_rows("attribute", 24, per_image=3)
    expected = answer(model, processor, questions(rows), 24)
    sizes: list[int] = []
    whole, fits = model.generate, [5]

    def generate(**inputs: Any) -> Any:
        sizes.append(len(inputs["attention_mask"]))
        if sizes[-1] > fits[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(**inputs)

    monkeypatch.setattr(model, "generate", generate)
    answerer = Answerer(model, processor, 16)
    assert [a.text for a in answerer(questions(rows))] == expected
    assert sizes == [16, 8] + [4] * 6
    assert answerer.batch_size == 4, "the next task starts with what fits"
    assert "4 questions are answered together now" in capsys.readouterr().out
    fits[0] = 0
    with pytest.raises(torch.OutOfMemoryError):
        answerer(questions(rows))


@pytest.mark.parametrize("size", [8, 32])
def test_the_batch_size_changes_no_answer(
    model: Any, processor: Any, make_rows: Rows, size: int
) -> None:
    rows = make_rows("attribute", 40, per_image=3)
    asked = questions(rows, 12)
    one = Answerer(model, processor, 1)(asked)
    assert Answerer(model, processor, size)(asked) == one
    assert len({a.text for a in one}) > 5
