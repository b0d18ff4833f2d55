"""The original layouts of LLaVA, Bunny and InternVL in small, and files that are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from trainables.recovery.data import formats
from trainables.recovery.data.conversations import ConversationData, load_conversations
from trainables.recovery.data.formats import read_rows
from trainables.specs import DataSpec


def turns(*texts: str) -> list[dict[str, str]]:
    """Alternating turns of a human and the model."""
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with images in subfolders, as the originals have them."""
    for name in ("coco/train2017/1.jpg", "coco/train2017/2.jpg", "vg/VG_100K/3.jpg", "ai2d/0.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4)).save(path)
    return tmp_path


LLAVA = [
    {
        "id": "000000033471",
        "image": "coco/train2017/1.jpg",
        "conversations": turns("<image>\nWhat colour?", "White.", "Why?", "Paint."),
    },
    {"id": 2341, "image": "vg/VG_100K/3.jpg", "conversations": turns("Where?\n<image>", "Left.")},
    {"id": "wgByO4Y_0", "model": "", "conversations": turns("Hello", "Hi.", "Bye", "Bye.")},
    {"id": 7, "image": "", "conversations": turns("Only text", "Yes.")},
]


def load(path: Path, **settings: Any) -> ConversationData:
    return load_conversations(DataSpec(conversations=str(path), **settings))


def write(path: Path, rows: list[Any], lines: bool = False) -> Path:
    text = "".join(f"{json.dumps(r)}\n" for r in rows) if lines else json.dumps(rows, indent=2)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("lines", [False, True])
def test_llava_and_bunny(images: Path, tmp_path: Path, lines: bool) -> None:
    data = load(write(tmp_path / "mix665k.json", LLAVA, lines), image_folder=str(images))
    assert [c.id for c in data.conversations] == ["000000033471", "2341", "wgByO4Y_0", "7"]
    first, second, text, empty = data.conversations
    assert first.images == (images.resolve() / "coco/train2017/1.jpg",)
    assert first.turns == (("<image>\nWhat colour?", "White."), ("Why?", "Paint."))
    assert second.turns == (("Where?\n<image>", "Left."),)
    assert text.images == empty.images == ()
    assert len(text.turns) == 2


def test_several_images_of_a_sample(images: Path) -> None:
    names = ["coco/train2017/2.jpg", "coco/train2017/1.jpg"]
    row = {
        "id": 0,
        "image": names,
        "width_list": [6, 6],
        "height_list": [4, 4],
        "conversations": turns("Image-1: <image>\nImage-2: <image>\nSame?", "Yes."),
    }
    data = load(write(images / "multi.jsonl", [row], lines=True))
    assert data.conversations[0].images == tuple(images.resolve() / name for name in names)


def row(number: int, image: str | None = None) -> dict[str, Any]:
    """One line of an InternVL part."""
    shown = {"image": image, "width": 6, "height": 4} if image else {}
    return {"id": number, **shown, "conversations": turns("What?", f"Answer {number}.")}


def test_a_meta_file_of_internvl(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(images / "coco.jsonl", [row(i, "1.jpg") for i in range(4)], lines=True)
    write(images / "ai2d.jsonl", [row(10 + i, "0.png") for i in range(3)], lines=True)
    write(images / "text.jsonl", [row(20 + i) for i in range(5)], lines=True)
    write(images / "half.json", [row(30 + i) for i in range(4)])
    entry = {"data_augment": False, "length": 4}
    meta = {
        "coco": {"root": "coco/train2017/", "annotation": "coco.jsonl", "repeat_time": 2, **entry},
        "ai2d": {"root": "ai2d", "annotation": "ai2d.jsonl", "repeat_time": 1, **entry},
        "text": {"root": "", "annotation": "text.jsonl", "repeat_time": 0.5, **entry},
        "half": {"annotation": str(images / "half.json"), "repeat_time": 1.5},
    }
    path = images / "shell" / "meta.json"
    path.parent.mkdir()
    path.write_text(json.dumps(meta, indent=2))
    monkeypatch.chdir(images)  # InternVL's paths start from where training is started
    data = load(path)
    ids = [int(c.id) for c in data.conversations]
    assert ids == [0, 1, 2, 3, 0, 1, 2, 3, 10, 11, 12, 20, 21, 30, 31, 32, 33, 30, 31]
    assert data.conversations[0].images == (images.resolve() / "coco/train2017/1.jpg",)
    assert data.conversations[8].images == (images.resolve() / "ai2d/0.png",)
    assert data.conversations[0] == data.conversations[4] != data.conversations[1]

    meta["text"]["repeat_time"] = 1
    path.write_text(json.dumps(meta))
    assert load(path).digest != data.digest


def test_the_digest_of_a_meta_file_does_not_depend_on_the_machine(tmp_path: Path) -> None:
    found = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        write(tmp_path / place / "part.jsonl", [row(0)], lines=True)
        entry = {"root": str(tmp_path), "annotation": str(tmp_path / place / "part.jsonl")}
        (tmp_path / place / "meta.json").write_text(json.dumps({"part": entry}))
        found.append(load(tmp_path / place / "meta.json").digest)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"annotation": "part.jsonl", "repeat_time": 0}, "repeat_time of 'p' is 0"),
        ({"annotation": "part.jsonl", "repeat_time": "2"}, "repeat_time of 'p' is '2'"),
        ({"annotation": "gone.jsonl"}, "annotation of 'p' is not there: looked for .*gone.jsonl"),
        ({"annotation": "part.jsonl", "root": "gone"}, "root of 'p' is not there"),
        ({"annotation": ["part.jsonl"]}, "must be a path"),
    ],
)
def test_a_meta_file_that_names_the_wrong_things(
    tmp_path: Path, entry: dict[str, Any], message: str
) -> None:
    write(tmp_path / "part.jsonl", [row(0)], lines=True)
    (tmp_path / "meta.json").write_text(json.dumps({"p": entry}))
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "meta.json")


TWO = [row(0), row(1)]
LIST, LINES = json.dumps(TWO), "".join(f"{json.dumps(r)}\n" for r in TWO)
CHAT = {"id": "c", "messages": [{"role": "user", "content": "a"}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LIST[:-30], r"not valid JSON after 1 whole rows, the last of them '0' .*truncated"),
        (LIST[:-1], "after 2 whole rows, the last of them '1' .*truncated"),
        (LINES[:-30], "after 1 whole rows, the last of them '0' .*truncated"),
        (LIST.replace("}]}, {", "}]} {"), "Expecting ',' or ']'"),
        (LIST + LINES, "mixes formats: more text follows the end of its JSON list"),
        (LINES + LIST, "mixes formats: row 2 has a list"),
        (json.dumps([CHAT]), "sample 'c' has `messages`, but no `conversations`"),
        (json.dumps({"p": {"annotation": "x"}}) + LINES, "follows InternVL's meta JSON"),
        ("", "no usable conversation"),
        ("nonsense", "not valid JSON after 0 whole rows"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_damaged_files_name_the_place(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "data.json").write_text(content)
    for skip in (False, True):  # such a file is refused in any case: nobody knows what is missing
        with pytest.raises(ValueError, match=message) as caught:
            load(tmp_path / "data.json", skip_broken=skip)
        assert "\n" not in str(caught.value)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_bytes(LIST.replace("Answer", "Ä").encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        load(tmp_path / "data.json")


@pytest.mark.parametrize("chunk", [1, 7, 64, 10**6])
@pytest.mark.parametrize("text", [LIST, LINES, "\ufeff" + json.dumps(TWO, indent=1) + "\n", "[ ]"])
def test_rows_do_not_depend_on_where_the_text_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, text: str
) -> None:
    rows = [*TWO, {"id": 'a "quoted" \\ \u00e4', "conversations": [1.5, None, True]}]
    if text == LIST:
        text = json.dumps(rows)
    elif text == LINES:
        text = "".join(f"{json.dumps(r)}\n" for r in rows)
    monkeypatch.setattr(formats, "CHUNK", chunk)
    (tmp_path / "data.json").write_text(text, encoding="utf-8")
    expected = rows if text[0] in "[{" else TWO
    assert list(read_rows(tmp_path / "data.json")) == ([] if text == "[ ]" else expected)
