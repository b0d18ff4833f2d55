"""Tokens, answer masks, truncation and collation on the embedded model's processor."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from helpers.conversations import write_conversations
from PIL import Image

from trainables.models.collation import IGNORE
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.recovery.data.conversations import (
    Conversation,
    ConversationData,
    load_conversations,
)
from trainables.recovery.encode import encoder as batches
from trainables.recovery.encode.chat import render
from trainables.recovery.encode.encoder import Encoder
from trainables.recovery.loss.coverage import coverage
from trainables.specs import DataSpec, LossSpec


@pytest.fixture
def encoder(processor: Any, conversations: ConversationData) -> Encoder:
    return Encoder(processor, conversations, 256, LLAVA_LLAMA)


def test_ids_equal_those_of_the_processor(encoder: Encoder, processor: Any) -> None:
    conversation = encoder.data.conversations[0]
    text, _ = render(processor, conversation)
    with Image.open(conversation.images[0]) as image:
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
    dialogue = Conversation("d", encoder.data.conversations[0].images, turns)
    data = replace(encoder.data, conversations=(dialogue,))
    _, labels = Encoder(processor, data, 256, LLAVA_LLAMA).tokens(0)
    text = processor.tokenizer.decode([y for y in labels if y != IGNORE]).replace(" ", "")
    assert text == "red</s>yes</s>"


def test_a_text_only_sample_has_no_image_tokens(encoder: Encoder, processor: Any) -> None:
    plain = Conversation("t", (), (("is there a red square ?", "no"),))
    mixed = replace(encoder.data, conversations=(plain, encoder.data.conversations[0]))
    batch = Encoder(processor, mixed, 256, LLAVA_LLAMA).batch([0, 1])
    assert batch["pixel_values"].shape[0] == 1
    image = batch["input_ids"] == processor.image_token_id
    assert image.sum(1).tolist()[0] == 0
    assert image.sum(1).tolist()[1] > 0


def test_truncation_never_cuts_into_an_image(encoder: Encoder, processor: Any) -> None:
    short = Encoder(processor, encoder.data, 8, LLAVA_LLAMA)
    with pytest.raises(ValueError, match=r"sample-0.*max_tokens=8"):
        short.tokens(0)


def test_a_later_turn_is_cut_in_its_answer_and_kept_in_part(processor: Any) -> None:
    turns = (("is there a red square ?", "no"), ("what color is the circle ?", "red"))
    data = ConversationData((Conversation("t", (), turns),), (), "")
    ids, labels = Encoder(processor, data, 256, LLAVA_LLAMA).tokens(0)
    cut = Encoder(processor, data, len(ids) - 1, LLAVA_LLAMA)
    assert cut.tokens(0) == (ids[:-1], labels[:-1])


def test_samples_that_cannot_be_used_are_left_out_or_refused(processor: Any) -> None:
    asked = "is there a red square ? " * 10
    samples = tuple(Conversation(n, (), ((q, "no"),)) for n, q in (("a", "x"), ("b", asked)))
    encoder = Encoder(processor, ConversationData(samples, (), ""), 32, LLAVA_LLAMA)
    assert encoder.usable(np.array([1, 0])).tolist() == [0]
    faults = [encoder.fault(i) for i in (1, 0)]
    assert [fault and (fault.sample, fault.fault) for fault in faults] == [("b", "too long"), None]
    with pytest.raises(ValueError, match=r"'b'.*raise data.max_tokens"):
        encoder.length(1)
    with pytest.raises(ValueError, match=r"none of the 1 samples.*'b'"):
        encoder.usable(np.array([1]))


def test_an_image_that_is_gone_is_named(encoder: Encoder, tmp_path: Path, processor: Any) -> None:
    shown = Conversation("gone", (tmp_path / "gone.png",), (("what color ?", "red"),))
    blind = Encoder(processor, replace(encoder.data, conversations=(shown,)), 256, LLAVA_LLAMA)
    assert blind.length(0) > 0
    with pytest.raises(ValueError, match=r"'gone'.*does not exist"):
        blind.batch([0])


def test_image_digests_follow_the_content(processor: Any, tmp_path: Path) -> None:
    path = write_conversations(tmp_path, 3, image="1.png")
    encoder = Encoder(
        processor, load_conversations(DataSpec(conversations=str(path))), 256, LLAVA_LLAMA
    )
    before, shown = [encoder.image_digests(i) for i in range(3)], encoder.batch([2])
    assert before[0] == before[1] != before[2]
    assert before[2] == (hashlib.sha256((tmp_path / "2.png").read_bytes()).hexdigest(),)
    os.utime(tmp_path / "2.png", ns=(1, 1))
    assert encoder.image_digests(2) == before[2]
    Image.new("RGB", (36, 36), (7, 90, 200)).save(tmp_path / "2.png")
    assert encoder.image_digests(2) != before[2]
    assert encoder.image_digests(1) == before[1]
    assert not torch.equal(encoder.batch([2])["pixel_values"], shown["pixel_values"])
    (tmp_path / "2.png").unlink()
    assert encoder.image_digests(2) == ("",)


def test_each_image_file_that_is_seen_is_read_once(
    processor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_conversations(tmp_path, 6, image="1.png")
    data = load_conversations(DataSpec(conversations=str(path)))
    encoder, everything = Encoder(processor, data, 256, LLAVA_LLAMA), np.arange(6)
    read = Mock(wraps=hashlib.file_digest)
    monkeypatch.setattr(hashlib, "file_digest", read)
    seen = encoder.content(everything)
    assert read.call_count == 5, "0.png is not seen, and 1.png is seen twice"
    others = [encoder.content(everything[:count]) for count in range(6)]
    assert len({seen, encoder.content(everything[::-1]), *others}) == 8
    assert encoder.content(everything) == seen
    assert read.call_count == 5
    Image.new("RGB", (36, 36), (7, 90, 200)).save(tmp_path / "2.png")
    assert encoder.content(everything) != seen
    assert read.call_count == 6


def test_lengths_outlive_the_tokens(
    encoder: Encoder, processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Encoder(processor, encoder.data, 256, LLAVA_LLAMA, token_cache_mib=0)
    assert [small.tokens(i) for i in (0, 1, 0)] == [encoder.tokens(i) for i in (0, 1, 0)]
    rendered = Mock(wraps=render)
    monkeypatch.setattr(batches, "render", rendered)
    assert [small.length(i) for i in (0, 1)] == [encoder.length(i) for i in (0, 1)]
    assert small.tokens(0) == encoder.tokens(0)  # the last one is kept in any case
    assert rendered.call_count == 0
    assert small.tokens(1) == encoder.tokens(1)
    assert rendered.call_count == 1


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
