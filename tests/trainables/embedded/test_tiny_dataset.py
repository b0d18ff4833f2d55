"""The embedded data: splits that share no scene, balanced answers, the same files every time."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from docs.scripts.embedded.build import words
from trainables.embedded import tiny_dataset
from trainables.embedded.data import EmbeddedData
from trainables.embedded.questions import KINDS, LETTERS, Balancer, candidates
from trainables.embedded.scenes import IMAGE_PIXELS, Scene, Thing, draw, sample_scene

RED, BLUE, GREEN = Thing("red", "circle"), Thing("blue", "square"), Thing("green", "cross")
SCENE = Scene((RED, BLUE, None, None, BLUE, None, None, None, GREEN))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedData:
    """The data with fewer scenes per split; made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_dataset, "SCENES", {"train": 80, "search": 12, "report": 24})
        return tiny_dataset.prepare(tmp_path_factory.mktemp("tiny"))


def test_sizes_meet_the_promise() -> None:
    assert tiny_dataset.SCENES["train"] * len(KINDS) >= 20_000
    assert tiny_dataset.SCENES["search"] >= 300
    assert tiny_dataset.SCENES["report"] >= 500
    assert len(KINDS) >= 5


def test_splits_share_no_scene(small: EmbeddedData) -> None:
    scenes = {
        split: set(pq.read_table(paths[split])["scene"].to_pylist())
        for paths in small.tasks.values()
        for split in tiny_dataset.EVALUATION_SPLITS
    }
    train = {row.scene.canonical for row in tiny_dataset.generate("train", 80)}
    assert len(scenes["search"]) == 12
    assert len(scenes["report"]) == 24
    assert len(train) == 80
    assert not train & scenes["search"]
    assert not train & scenes["report"]
    assert not scenes["search"] & scenes["report"]


def test_split_follows_from_the_arrangement_alone() -> None:
    again = Scene(tuple(Thing(c.color, c.shape) if c else None for c in SCENE.cells))
    assert again.canonical == SCENE.canonical
    assert again.split == SCENE.split
    rng = random.Random(0)
    splits = Counter(sample_scene(rng).split for _ in range(2000))
    assert splits["train"] == pytest.approx(2000 * 13 / 16, rel=0.05)
    assert splits["search"] == pytest.approx(2000 / 16, rel=0.35)
    assert splits["report"] == pytest.approx(2000 / 8, rel=0.25)


def test_conversations_are_in_the_llava_format(small: EmbeddedData) -> None:
    conversations = json.loads(small.conversations.read_text())
    assert len(conversations) == 80 * len(KINDS)
    assert len({c["id"] for c in conversations}) == len(conversations)
    for entry in conversations[:20]:
        human, gpt = entry["conversations"]
        assert human["from"] == "human"
        assert human["value"].startswith("<image>\n")
        assert gpt["from"] == "gpt"
        assert len(gpt["value"].split()) == 1
        with Image.open(small.image_folder / entry["image"]) as image:
            assert image.size == (IMAGE_PIXELS, IMAGE_PIXELS)


def test_prepare_is_idempotent(small: EmbeddedData) -> None:
    root = small.conversations.parent.parent
    before = small.conversations.stat().st_mtime_ns
    assert tiny_dataset.prepare(root) == small
    assert small.conversations.stat().st_mtime_ns == before


def test_same_seed_same_data(small: EmbeddedData, tmp_path: Path) -> None:
    assert tiny_dataset.generate("search", 8) == tiny_dataset.generate("search", 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_dataset, "SCENES", {"train": 80, "search": 12, "report": 24})
        again = tiny_dataset.prepare(tmp_path)
    assert again.conversations.read_bytes() == small.conversations.read_bytes()
    for kind in KINDS:
        ours, theirs = (pq.read_table(d.tasks[kind]["report"]) for d in (small, again))
        assert ours.equals(theirs)


def test_majority_answer_scores_at_most_35_percent() -> None:
    rows = tiny_dataset.generate("report", 200)
    shares = {}
    for kind in KINDS:
        answers = Counter(row.questions[kind].answer for row in rows)
        shares[kind] = answers.most_common(1)[0][1] / len(rows)
    assert shares["existence"] == pytest.approx(0.5, abs=0.02)
    assert sum(shares.values()) / len(shares) <= 0.35


def test_answers_of_a_known_scene() -> None:
    rng = random.Random(0)
    answers = {
        question.text: question.answer
        for kind in KINDS
        for asked in candidates(kind, SCENE, rng).values()
        for question in asked
    }
    assert answers["what color is the circle?"] == "red"
    assert answers["what shape is the top center object?"] == "square"
    assert answers["how many blue objects are there?"] == "2"
    assert answers["how many blue circle objects are there?"] == "0"
    assert answers["is there a red circle?"] == "yes"
    assert answers["is there a red square?"] == "no"
    assert answers["is there a cross in the bottom row?"] == "yes"
    assert answers["what color is right of the top left?"] == "blue"
    assert "what color is left of the top left?" not in answers  # outside of the grid


def test_the_letter_of_a_choice_names_its_option() -> None:
    rng = random.Random(1)
    balancer = Balancer(rng)
    for _ in range(20):
        question = balancer.ask("choice", SCENE)
        assert question is not None
        right = question.options[LETTERS.index(question.answer)]
        assert f"{question.answer} {right}" in question.text
        assert len(set(question.options)) == 4
        if "which object" in question.text:
            present = {str(thing) for thing in SCENE.things.values()}
            assert [option in present for option in question.options].count(True) == 1


def test_every_word_is_in_the_vocabulary() -> None:
    known = set(words())
    for row in tiny_dataset.generate("train", 60):
        for question in row.questions.values():
            text = f"{question.text} {question.answer}".replace("?", " ?")
            assert set(text.split()) <= known


def test_drawing_depends_on_the_seed_only() -> None:
    first, second, other = (draw(SCENE, random.Random(s)).tobytes() for s in (3, 3, 4))
    assert first == second
    assert first != other
