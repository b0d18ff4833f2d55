"""Batched answers of every family equal those of plain transformers, one question at a time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.greedy_answers import answer
from PIL import Image

from trainables.evaluation.answering.generation import Answerer, Question
from trainables.evaluation.isolation import isolated

NEW_TOKENS = 8


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    """An image of random pixels."""
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


SMALL, WIDE, TALL = noise((8, 8), 1), noise((16, 10), 2), noise((9, 30), 3)
ASKED: tuple[tuple[str, tuple[Image.Image, ...]], ...] = (
    ("what is it ?", (SMALL,)),
    ("how many cats are there ?", (WIDE,)),
    ("where ?", (TALL,)),
    ("is it the same ?", (WIDE, SMALL)),
    ("are you there ?", ()),
)


@pytest.fixture
def processor(family: Any, family_processor: Callable[[str], Any]) -> Any:
    """The family's processor."""
    return family_processor(family.name)


def one_by_one(model: Any, processor: Any) -> list[str]:
    """The reference: the processor's own inputs, batch 1, no padding."""
    said = []
    for text, images in ASKED:
        content = [*[{"type": "image"}] * len(images), {"type": "text", "text": text}]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        inputs = processor(text=[prompt], images=[images] if images else None, return_tensors="pt")
        with torch.no_grad():
            out = model.generate(
                **inputs, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=2, pad_token_id=0
            )
        new = out[0, inputs["input_ids"].shape[1] :]
        said.append(processor.tokenizer.decode(new, skip_special_tokens=True).strip())
    return said


def test_batched_answers_equal_single_ones(family: Any, processor: Any) -> None:
    expected = one_by_one(family.model, processor)
    assert len(set(expected)) > 2, "the random model must not say the same to everything"
    asked = [Question(text, partial(tuple, images), NEW_TOKENS) for text, images in ASKED]
    assert answer(family.model, processor, asked, len(ASKED)) == expected


def test_a_place_for_an_image_in_a_question_is_no_further_image(
    family: Any, processor: Any
) -> None:
    plain = Question("what is it ?", lambda: [TALL], NEW_TOKENS)
    marked = Question("<image> what is it ?", lambda: [TALL], NEW_TOKENS)
    said = answer(family.model, processor, [plain, marked], 2)
    assert said[0] == said[1]


def test_the_wrapper_answers_in_the_order_of_the_requests(family: Any, processor: Any) -> None:
    pytest.importorskip("lmms_eval")
    with isolated(None):
        from trainables.evaluation.answering.wrapper import InMemoryModel
    wrapper = InMemoryModel(Answerer(family.model, processor, 2))
    wrapper.task_dict = {"task": {"test": [images for _, images in ASKED]}}

    def images_of(doc: Sequence[Image.Image]) -> Sequence[Image.Image]:
        return doc

    settings = {"max_new_tokens": NEW_TOKENS, "until": "\n\n"}
    requests = [
        SimpleNamespace(args=(text, settings, images_of, i, "task", "test"))
        for i, (text, _) in enumerate(ASKED)
    ]
    said = wrapper.generate_until(requests)
    expected = [text.split("\n\n")[0].strip() for text in one_by_one(family.model, processor)]
    assert said == expected
