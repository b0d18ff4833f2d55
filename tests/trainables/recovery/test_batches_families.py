"""Batches of real processors on the tiny model of every family."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from PIL import Image

from trainables.recovery import batches
from trainables.recovery.batches import IGNORE, Batch, Encoder, render
from trainables.recovery.data import Conversation, ConversationData, open_image
from trainables.recovery.losses import (
    RecoveryObjective,
    answer_positions,
    coverage,
    hidden_states,
)
from trainables.specs import LossSpec

SIZES = ((8, 8), (16, 10), (9, 30), (16, 10))  # (width, height)
TEXT_ONLY = 4
TURNS = (
    (("what is it ?", "a cat."),),
    (("where ?", "left of it"), ("why ?", "no idea")),
    (("how many ?", "2"),),
    (("is it red ?", "yes"),),
    (("are you there ?", "yes. i am"), ("good ?", "yes")),
)


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    """An image of random pixels."""
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ConversationData:
    """Four conversations with images, two of one size, and one without."""
    folder = tmp_path_factory.mktemp("images")
    samples = []
    for i, turns in enumerate(TURNS):
        path = None
        if i != TEXT_ONLY:
            path = folder / f"{i}.png"
            noise(SIZES[i], i).save(path)
        samples.append(Conversation(f"sample-{i}", path, turns))
    return ConversationData(tuple(samples), (), "")


@pytest.fixture
def case(
    family: Any, family_processor: Callable[[str], Any], data: ConversationData
) -> SimpleNamespace:
    """A family's model with its processor, and an encoder of the conversations."""
    processor = family_processor(family.name)
    encoder = Encoder(processor, data, 256, adapter=family.adapter)
    return SimpleNamespace(
        name=family.name,
        model=family.model,
        adapter=family.adapter,
        processor=processor,
        encoder=encoder,
    )


def losses(case: SimpleNamespace, batch: Batch) -> dict[str, float]:
    """Cross entropy per label, by our objective and by the model's own head and loss."""
    labels = batch["labels"]
    rows = zip(batch["input_ids"].tolist(), labels.tolist(), strict=True)
    loss = LossSpec(alpha=1.0)
    token = case.processor.image_token_id
    objective = RecoveryObjective(case.model, loss, token)
    ours = objective(batch, coverage(rows, loss, token), None, None, ())["ce"]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = case.model(**inputs).logits[:, :-1].flatten(0, 1)
    theirs = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=IGNORE)
    return {"ours": float(ours), "theirs": float(theirs)}


def test_samples_are_what_the_processor_makes_of_them(case: SimpleNamespace) -> None:
    for index, conversation in enumerate(case.encoder.data.conversations):
        text, _ = render(case.processor, conversation)
        images = None if conversation.image is None else [[Image.open(conversation.image)]]
        expected = case.processor(text=[text], images=images, return_tensors="pt")
        batch = case.encoder.batch([index])
        assert set(batch) == {*expected, "labels"}
        for name, value in expected.items():
            torch.testing.assert_close(batch[name], value, rtol=0, atol=0, check_dtype=False)


def test_labels_cover_the_answers_and_their_ends(case: SimpleNamespace) -> None:
    end = "<end_of_utterance>" if case.name in ("idefics3", "smolvlm") else "</s>"
    for index, turns in enumerate(TURNS):
        ids, labels = case.encoder.tokens(index)
        covered = [y for y in labels if y != IGNORE]
        assert case.processor.tokenizer.decode(covered) == "".join(f"{a}{end}" for _, a in turns)
        assert [i for i, y in zip(ids, labels, strict=True) if y != IGNORE] == covered


def test_a_template_that_ends_its_answers_is_followed_to_the_letter(case: SimpleNamespace) -> None:
    if case.name.startswith("llava"):
        pytest.skip("these templates write no end of an answer")
    for conversation in case.encoder.data.conversations:
        text, _ = render(case.processor, conversation)
        messages = []
        for number, (question, answer) in enumerate(conversation.turns):
            image = [{"type": "image"}] if number == 0 and conversation.image else []
            asked = [*image, {"type": "text", "text": question}]
            messages += [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": [{"type": "text", "text": answer}]},
            ]
        assert text == case.processor.apply_chat_template(messages).rstrip()


def test_image_tokens_equal_the_features_that_fill_them(case: SimpleNamespace) -> None:
    batch = case.encoder.batch(range(5))
    images = {name: batch[name] for name in case.adapter.image_inputs}
    features = case.model.get_image_features(**images, return_dict=True).pooler_output
    tokens = (batch["input_ids"] == case.processor.image_token_id).sum(1)
    assert int(tokens.sum()) == sum(torch.as_tensor(f).flatten(0, -2).shape[0] for f in features)
    assert int(tokens[TEXT_ONLY]) == 0


def test_the_loss_of_a_batch_is_the_models_own(case: SimpleNamespace) -> None:
    found = losses(case, case.encoder.batch(range(5)))
    assert found["ours"] == pytest.approx(found["theirs"], rel=1e-5)


def test_text_alone_makes_a_batch(case: SimpleNamespace) -> None:
    batch = case.encoder.batch([TEXT_ONLY, TEXT_ONLY])
    assert not set(batch) & set(case.adapter.image_inputs)
    found = losses(case, batch)
    assert found["ours"] == pytest.approx(found["theirs"], rel=1e-5)


def test_a_sample_is_the_same_alone_and_among_others(case: SimpleNamespace) -> None:
    order = [1, TEXT_ONLY, 2, 0]
    batch = case.encoder.batch(order)
    together = hidden_states(case.model, batch, 2).states
    for row, index in enumerate(order):
        alone = case.encoder.batch([index])
        states = hidden_states(case.model, alone, 2).states
        covered = answer_positions(alone["labels"])
        among = answer_positions(batch["labels"][row : row + 1])
        for one, all_ in zip(states, together, strict=True):
            torch.testing.assert_close(
                all_[row : row + 1][among], one[covered], rtol=1e-3, atol=1e-4
            )


def test_lengths_need_no_pixels(
    case: SimpleNamespace, data: ConversationData, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [case.encoder.length(i) for i in range(5)]
    fresh = Encoder(case.processor, data, 256, adapter=case.adapter)
    ask = Mock(wraps=fresh._ask_expansion)
    monkeypatch.setattr(fresh, "_ask_expansion", ask)
    monkeypatch.setattr(batches, "open_image", pytest.fail)
    if case.adapter.fixed_image_tokens:
        monkeypatch.setattr(batches, "image_size", pytest.fail)
    assert [fresh.length(i) for i in range(5)] == expected
    assert ask.call_count == (1 if case.adapter.fixed_image_tokens else len(set(SIZES)))


def test_an_image_is_decoded_once_while_it_is_kept(
    case: SimpleNamespace, data: ConversationData, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Mock(wraps=open_image)
    monkeypatch.setattr(batches, "open_image", opened)
    for cache, times in ((512, 1), (0, 2)):
        encoder = Encoder(case.processor, data, 256, cache, adapter=case.adapter)
        opened.reset_mock()
        first, second = encoder.batch([0, 1]), encoder.batch([0, 1])
        assert opened.call_count == 2 * times
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, rtol=0, atol=0)


def test_a_place_for_an_image_in_an_answer_is_refused(
    family_processor: Callable[[str], Any], data: ConversationData
) -> None:
    sample = Conversation("odd", None, (("what ?", "an <image>"),))
    encoder = Encoder(family_processor("llava-llama"), ConversationData((sample,), (), ""), 256)
    with pytest.raises(ValueError, match=r"'odd' has 0 images, but its text has 1 places"):
        encoder.tokens(0)


def test_an_image_that_the_processor_refuses_is_named(
    families: dict[str, Callable[..., Any]], family_processor: Callable[[str], Any], tmp_path: Path
) -> None:
    Image.new("RGB", (1000, 4)).save(tmp_path / "long.png")
    sample = Conversation("long", tmp_path / "long.png", (("what ?", "a line"),))
    adapter = families["qwen2-vl"]().adapter
    encoder = Encoder(
        family_processor("qwen2-vl"), ConversationData((sample,), (), ""), 256, adapter=adapter
    )
    with pytest.raises(ValueError, match=r"'long': the processor refuses .* 1000 x 4"):
        encoder.length(0)
