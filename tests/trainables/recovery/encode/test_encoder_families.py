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

from trainables.models.collation import IGNORE, Batch
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.recovery.data.conversations import Conversation, ConversationData
from trainables.recovery.data.images import open_image
from trainables.recovery.data.rows import BrokenSampleError
from trainables.recovery.encode import image_inputs
from trainables.recovery.encode.chat import render
from trainables.recovery.encode.encoder import Encoder
from trainables.recovery.loss.coverage import answer_positions, coverage
from trainables.recovery.loss.objective import RecoveryObjective, hidden_states
from trainables.recovery.loss.targets import Targets
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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the images."""
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def data(folder: Path) -> ConversationData:
    """Four conversations with images, two of one size, and one without."""
    samples = []
    for i, turns in enumerate(TURNS):
        paths = () if i == TEXT_ONLY else (folder / f"{i}.png",)
        for path in paths:
            noise(SIZES[i], i).save(path)
        samples.append(Conversation(f"sample-{i}", paths, turns))
    return ConversationData(tuple(samples), (), "")


@pytest.fixture
def case(
    family: Any, family_processor: Callable[[str], Any], data: ConversationData
) -> SimpleNamespace:
    """A family's model with its processor, and an encoder of the conversations."""
    processor = family_processor(family.name)
    encoder = Encoder(processor, data, 256, family.adapter)
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
    objective = RecoveryObjective(case.model, loss, (), case.adapter)
    ours = objective(batch, coverage(rows, loss, token), Targets(), None, ())["ce"]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = case.model(**inputs).logits[:, :-1].flatten(0, 1)
    theirs = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=IGNORE)
    return {"ours": float(ours), "theirs": float(theirs)}


def test_samples_are_what_the_processor_makes_of_them(case: SimpleNamespace) -> None:
    for index, conversation in enumerate(case.encoder.data.conversations):
        text, _ = render(case.processor, conversation)
        images = [[Image.open(path) for path in conversation.images]]
        expected = case.processor(
            text=[text], images=images if conversation.images else None, return_tensors="pt"
        )
        batch = case.encoder.batch([index])
        assert set(batch) == {*expected, "labels"}
        for name, value in expected.items():
            torch.testing.assert_close(batch[name], value, rtol=0, atol=0, check_dtype=False)


def test_several_images_stand_where_their_marks_are(
    case: SimpleNamespace, data: ConversationData, folder: Path
) -> None:
    paths = tuple(folder / f"{i}.png" for i in (0, 2, 1))
    asked = "<image>\nis it this:\n<image> ?"
    sample = Conversation("many", paths, ((asked, "no"), ("or <image>", "yes")))
    encoder = Encoder(case.processor, ConversationData((sample,), (), ""), 512, case.adapter)
    text, _ = render(case.processor, sample)
    assert text.count(case.processor.image_token) == 3
    assert text.index("is it this:") < text.index("or")
    expected = case.processor(
        text=[text], images=[[Image.open(path) for path in paths]], return_tensors="pt"
    )
    batch = encoder.batch([0])
    assert batch["input_ids"].tolist() == expected["input_ids"].tolist()
    images = {name: batch[name] for name in case.adapter.image_inputs}
    theirs = {name: expected[name] for name in case.adapter.image_inputs}
    with torch.no_grad():
        got, wanted = (
            torch.cat(
                [
                    f.flatten(0, -2)
                    for f in case.model.get_image_features(**i, return_dict=True).pooler_output
                ]
            )
            for i in (images, theirs)
        )
    torch.testing.assert_close(got, wanted)
    covered = [y for y in encoder.tokens(0)[1] if y != IGNORE]
    assert case.processor.tokenizer.decode(covered, skip_special_tokens=True) == "noyes"
    assert encoder.images(0) == paths


def test_cutting_drops_whole_turns_rather_than_half_an_image(
    case: SimpleNamespace, data: ConversationData, folder: Path
) -> None:
    paths = tuple(folder / f"{i}.png" for i in (0, 1))
    turns = (("<image> what ?", "a cat"), ("and <image> ?", "a dog. and a long bone"))
    data = ConversationData((Conversation("two", paths, turns),), (), "")
    whole = Encoder(case.processor, data, 512, case.adapter)
    ids, labels = whole.tokens(0)
    start = max(
        i for i, y in enumerate(labels[: labels.index(IGNORE, first(labels))]) if y != IGNORE
    )
    second = [i for i, t in enumerate(ids) if t == case.processor.image_token_id and i > start]
    seen = set()
    for most in range(start + 1, len(ids) + 1):
        cut = Encoder(case.processor, data, most, case.adapter)
        kept, shown = len(cut.tokens(0)[0]), len(cut.images(0))
        assert (cut.tokens(0)[0], cut.tokens(0)[1]) == (ids[:kept], labels[:kept])
        image_tokens = [i for i in second if i < kept]
        assert image_tokens == (second if shown == 2 else [])
        assert kept in (most, start + 1)
        batch = cut.batch([0])
        features = case.model.get_image_features(
            **{name: batch[name] for name in case.adapter.image_inputs}, return_dict=True
        ).pooler_output
        tokens = int((batch["input_ids"] == case.processor.image_token_id).sum())
        assert tokens == sum(torch.as_tensor(f).flatten(0, -2).shape[0] for f in features)
        seen.add(shown)
    assert seen == {1, 2}
    with pytest.raises(BrokenSampleError, match=r"'two'.*raise data.max_tokens"):
        Encoder(case.processor, data, first(labels), case.adapter).tokens(0)


def first(labels: list[int]) -> int:
    """Position of the first label."""
    return next(i for i, y in enumerate(labels) if y != IGNORE)


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
            image = [{"type": "image"}] if number == 0 and conversation.images else []
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
    together = hidden_states(case.model, batch, (1,), case.adapter)
    for row, index in enumerate(order):
        alone = case.encoder.batch([index])
        states = hidden_states(case.model, alone, (1,), case.adapter)
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
    fresh = Encoder(case.processor, data, 256, case.adapter)
    ask = Mock(wraps=fresh.image_inputs._ask)
    monkeypatch.setattr(fresh.image_inputs, "_ask", ask)
    monkeypatch.setattr(image_inputs, "open_image", pytest.fail)
    if case.adapter.fixed_image_tokens:
        monkeypatch.setattr(image_inputs, "image_size", pytest.fail)
    assert [fresh.length(i) for i in range(5)] == expected
    assert ask.call_count == (1 if case.adapter.fixed_image_tokens else len(set(SIZES)))


def test_an_image_is_decoded_once_while_it_is_kept(
    case: SimpleNamespace, data: ConversationData, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Mock(wraps=open_image)
    monkeypatch.setattr(image_inputs, "open_image", opened)
    for cache, times in ((512, 1), (0, 2)):
        encoder = Encoder(case.processor, data, 256, case.adapter, cache)
        opened.reset_mock()
        first, second = encoder.batch([0, 1]), encoder.batch([0, 1])
        assert opened.call_count == 2 * times
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, rtol=0, atol=0)


def test_a_place_for_an_image_in_an_answer_is_refused(
    family_processor: Callable[[str], Any], data: ConversationData
) -> None:
    sample = Conversation("odd", (), (("what ?", "an <image>"),))
    alone = ConversationData((sample,), (), "")
    encoder = Encoder(family_processor("llava-llama"), alone, 256, LLAVA_LLAMA)
    with pytest.raises(ValueError, match=r"'odd' has 0 images, but its text has 1 places"):
        encoder.tokens(0)


def test_an_image_that_the_processor_refuses_is_named(
    families: dict[str, Callable[..., Any]], family_processor: Callable[[str], Any], tmp_path: Path
) -> None:
    Image.new("RGB", (1000, 4)).save(tmp_path / "long.png")
    sample = Conversation("long", (tmp_path / "long.png",), (("what ?", "a line"),))
    adapter = families["qwen2-vl"]().adapter
    encoder = Encoder(
        family_processor("qwen2-vl"), ConversationData((sample,), (), ""), 256, adapter
    )
    with pytest.raises(ValueError, match=r"'long': the processor refuses .* 1000 x 4"):
        encoder.length(0)
