"""Tokens, answer masks, collation and the order of samples."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from trainables.recovery.batches import (
    IGNORE,
    Encoder,
    render,
    sample_stream,
    split_among,
    take_batches,
)
from trainables.recovery.data import Conversation, ConversationData
from trainables.recovery.losses import coverage
from trainables.specs import LossSpec


@pytest.fixture
def encoder(processor: Any, conversations: ConversationData) -> Encoder:
    return Encoder(processor, conversations, max_tokens=256)


def test_ids_equal_those_of_the_processor(encoder: Encoder, processor: Any) -> None:
    conversation = encoder.data.conversations[0]
    text, _ = render(processor, conversation)
    from PIL import Image

    with Image.open(str(conversation.image)) as image:
        expected = processor(text=[text], images=[image.convert("RGB")], return_tensors="pt")
    ids, _ = encoder.tokens(0)
    assert ids == expected["input_ids"][0].tolist()
    batch = encoder.batch([0])
    torch.testing.assert_close(batch["pixel_values"], expected["pixel_values"])


def test_labels_cover_the_answer_and_its_end(encoder: Encoder, processor: Any) -> None:
    ids, labels = encoder.tokens(1)
    covered = [token for token in labels if token != IGNORE]
    assert processor.tokenizer.decode(covered).replace(" ", "") == "no</s>"
    assert [i for i, y in zip(ids, labels, strict=True) if y != IGNORE] == covered
    assert labels[-1] == processor.tokenizer.eos_token_id


def test_every_turn_of_a_dialogue_is_covered(encoder: Encoder, processor: Any) -> None:
    turns = (("what color is the circle ?", "red"), ("is there a red square ?", "yes"))
    dialogue = Conversation("d", encoder.data.conversations[0].image, turns)
    data = replace(encoder.data, conversations=(dialogue,))
    _, labels = Encoder(processor, data, 256).tokens(0)
    text = processor.tokenizer.decode([y for y in labels if y != IGNORE]).replace(" ", "")
    assert text == "red</s>yes</s>"


def test_a_text_only_sample_has_no_image_tokens(encoder: Encoder, processor: Any) -> None:
    plain = Conversation("t", None, (("is there a red square ?", "no"),))
    mixed = replace(encoder.data, conversations=(plain, encoder.data.conversations[0]))
    batch = Encoder(processor, mixed, 256).batch([0, 1])
    assert batch["pixel_values"].shape[0] == 1
    image = batch["input_ids"] == processor.image_token_id
    assert image.sum(1).tolist()[0] == 0
    assert image.sum(1).tolist()[1] > 0


def test_truncation_never_cuts_into_an_image(encoder: Encoder, processor: Any) -> None:
    short = Encoder(processor, encoder.data, max_tokens=8)
    with pytest.raises(ValueError, match=r"sample-0.*max_tokens=8"):
        short.tokens(0)


def test_padding_is_masked_and_ignored(encoder: Encoder) -> None:
    batch = encoder.batch([0, 1, 2])
    lengths = [encoder.length(i) for i in range(3)]
    assert batch["attention_mask"].sum(1).tolist() == lengths
    padding = batch["attention_mask"] == 0
    assert bool((batch["labels"][padding] == IGNORE).all())


def test_coverage_counts_no_padding(encoder: Encoder, processor: Any) -> None:
    samples = [encoder.tokens(i) for i in range(3)]
    covered = coverage(samples, LossSpec(), processor.image_token_id)
    assert covered.hidden == sum(encoder.length(i) for i in range(3))
    assert covered.answer == sum(y != IGNORE for _, labels in samples for y in labels)


def test_an_epoch_visits_every_sample_once_in_a_new_order() -> None:
    subset = np.array([5, 9, 2, 7])
    first = list(islice(sample_stream(subset, 1), 8))
    assert sorted(first[:4]) == sorted(first[4:]) == [2, 5, 7, 9]
    assert first == list(islice(sample_stream(subset, 1), 8))
    many = np.arange(50)
    assert list(islice(sample_stream(many, 0), 50)) != list(islice(sample_stream(many, 1), 50))


def test_workers_share_a_batch_without_overlap() -> None:
    indices = next(take_batches(np.arange(20), 0, 12))
    parts = [split_among(indices, rank, 3, micro=2) for rank in range(3)]
    assert sorted(i for part in parts for micro in part for i in micro) == sorted(indices)
    assert {len(part) for part in parts} == {2}
    assert max(len(micro) for part in parts for micro in part) <= 2
    with pytest.raises(ValueError, match="multiple of 5"):
        split_among(indices, 0, 5, 2)
