"""Rows that are not as the formats say: each is one sample that is read, or one that is named.

A further row is a line of `BROKEN` (what is wrong with it) or of `READ` (what it means).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from trainables.recovery.data import formats
from trainables.recovery.data.conversations import load_conversations
from trainables.specs import DataSpec

NUL, HALF, BYTES = "\\u0000", "\\ud83d", "\udcff"  # the last one is written as the byte 0xff


def row(question: Any = "Why?", answer: Any = "So.", **keys: Any) -> str:
    """A row as JSON, with further keys; `id` is `odd` unless they say otherwise."""
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return json.dumps({"id": "odd", "conversations": turns} | keys, ensure_ascii=False)


def turned(*speakers: Any) -> str:
    return row(conversations=[{"from": speaker, "value": "text"} for speaker in speakers])


def asked(**keys: Any) -> str:
    """A row whose question has further keys."""
    return row(
        conversations=[
            {"from": "human", "value": "Why?", **keys},
            {"from": "gpt", "value": "So."},
        ]
    )


PLAIN = row()
BROKEN = [
    ("invalid text", row("Hello @").replace("@", HALF)),
    ("invalid text", row(answer="@").replace("@", HALF + HALF)),
    ("invalid text", row(answer="@").replace("@", "\\ude00\\ud83d")),
    ("invalid text", row("@", image="0.png").replace("@", HALF)),
    ("invalid text", row("<image>", image="@.png").replace("@", HALF)),
    ("invalid text", row(f"caf{BYTES}")),
    ("image path", row("<image>", image="@.png").replace("@", NUL)),
    ("image path", row("<image>", image="@/0.png").replace("@", NUL)),
    ("image path", row("<image>", image=["0.png", None])),
    ("image path", row("<image>", image=[["0.png"]])),
    ("image path", row("<image>", image=[{"path": "0.png"}])),
    ("image path", row("<image>", image=5)),
    ("image path", row("<image>", image=False)),
    ("image path", row("<image>", images={"path": "0.png"})),
    ("missing image", row("<image>", image="a" * 5000)),
    ("missing image", row("<image>", image="a/" * 2500 + "0.png")),
    ("missing image", row("<image>", image="loop/a.png")),
    ("missing image", row("<image>", image="loop/self/self/0.png")),
    ("missing image", row("<image>", image="0.png/0.png")),
    ("missing image", row("<image>", image="folder")),
    ("missing image", row("<image>", image="pipe")),
    ("missing image", row("<image>", image="dangling.png")),
    ("missing image", row("<image>", image="data:image/png;base64," + "A" * 9000)),
    ("image outside its folder", row("<image>", image="out/there.png")),
    ("image outside its folder", row("<image>", image="out/nowhere.png")),
    ("image outside its folder", row("<image>", image="gone/1.png")),
    ("image outside its folder", row("<image>", image="../0.png")),
    ("image outside its folder", row("<image>", image="/etc/hostname")),
    ("no text", row([{"type": "text", "text": "Why?"}])),
    ("no text", row(answer=[{"type": "text", "text": "So."}])),
    ("no text", row(answer={"answer": "cat"})),
    ("no text", row(answer=float("nan"))),
    ("no text", row(answer=1).replace('"value": 1', '"value": -1e999')),
    ("no text", row(answer=1).replace('"value": 1', '"value": ' + "9" * 5000)),
    ("no text", row(None)),
    ("no text", row().replace('"value": "Why?"', '"text": "Why?"')),
    ("no text", row(id=["odd"])),
    ("empty answer", row(answer=None)),
    ("empty answer", row(answer=" \n\t\u00a0")),
    ("empty answer", row(answer="So.").replace('"value": "So."', '"text": "So."')),
    ("wrong speakers", turned("system", "human", "gpt")),
    ("wrong speakers", turned("human", "gpt", "tool", "gpt")),
    ("wrong speakers", turned("human", "function")),
    ("wrong speakers", turned("user", "assistant")),
    ("wrong speakers", turned("human", "gpt", "human")),
    ("wrong speakers", turned("human", ["gpt"])),
    ("wrong speakers", row(conversations=[[{"from": "human", "value": "Why?"}]])),
    ("no conversations", row(conversations="Why? So.")),
    ("no conversations", row(conversations={})),
    ("no conversations", '{"id": "odd", "messages": [{"role": "user", "content": "Why?"}]}'),
    ("no conversations", '{"id": "odd", "caption": "A cat."}'),
    ("no object", '"odd"'),
    ("no object", "null"),
    ("video", row(video="a.mp4")),
    ("video", row(videos=["a.mp4"])),
    ("video", row(videos=[{"path": "a.mp4"}], image="0.png")),
    ("video", row(audio="a.wav")),
    ("video", row("<video>\nWhat happens?")),
    ("video", row("<image>\n<video>\nWhat happens?", image="0.png")),
    ("video", row("Video 1: What happens?")),
    ("other image keys", row(image_path="0.png")),
    ("other image keys", row(imagePath="0.png")),
    ("other image keys", row(img="0.png")),
    ("other image keys", row(pictures=["0.png"])),
    ("other image keys", row(image_url={"url": "https://x.org/0.png"})),
    ("other image keys", row(image=[], frames=["0.png"])),
    ("other image keys", row(video_path="a.mp4")),
    ("other image keys", row("<image>", image="0.png", image2="1.png")),
    ("other image keys", row("<image>", image="0.png", images=["0.png", "1.png"])),
    ("other image keys", asked(image="0.png")),
    ("other image keys", asked(images=["0.png"])),
    ("image marks", row("<image>")),
    ("image marks", row("<image><image>", image="0.png")),
    ("image marks", row("Why <image>?", "So: <image>.", image="0.png")),
    ("image marks", row("Picture 1: Why?")),
    ("image marks", row("Image-1: What is it?")),
    ("image marks", row("Picture 1: <img>0.png</img>\nWhy?")),
    ("image marks", row("<image_1> Why?")),
    ("image marks", row("<|image_1|>\nWhy?", image="0.png")),
    ("image marks", row("<ImageHere>Why?")),
    ("image marks", row("<image>\n[IMG] Why?", image="0.png")),
    ("no JSON", row()[:-1] + ",}"),
    ("no JSON", row().replace("Why?", "Why\n?")),
    ("no JSON", row().replace("Why?", "\\x")),
    ("no JSON", row().replace('"So."', '"a "quote" in it"')),
    ("no JSON", row().replace('"So."', "'So.'")),
    ("no JSON", row().replace('"So."', "[" * 5000 + "]" * 5000)),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, links of every kind, and what is no file."""
    place = tmp_path / "images"
    for name in ("images/folder", "images/loop", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("images/0.png", "images/1.png", "elsewhere/there.png"):
        Image.new("RGB", (6, 4)).save(tmp_path / name)
    (place / "loop" / "a.png").symlink_to("b.png")
    (place / "loop" / "b.png").symlink_to("a.png")
    (place / "loop" / "self").symlink_to("self")
    (place / "dangling.png").symlink_to("nowhere.png")
    (place / "out").symlink_to(tmp_path / "elsewhere")
    (place / "gone").symlink_to(tmp_path / "unmounted")
    os.mkfifo(place / "pipe")
    return place


def write(folder: Path, odd: str, lines: bool) -> DataSpec:
    """A file of that row between two plain ones."""
    rows = [PLAIN.replace('"odd"', f'"{name}"') for name in ("first", "last")]
    rows.insert(1, odd)
    text = "\n".join(rows) if lines else f"[{', '.join(rows)}]"
    path = folder / "data.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return DataSpec(conversations=str(path))


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(("fault", "odd"), BROKEN)
def test_a_broken_row_is_one_sample_that_is_named(
    folder: Path, fault: str, odd: str, lines: bool
) -> None:
    spec = write(folder, odd, lines)
    name = "odd" if '"id": "odd"' in odd else "row 1"
    with pytest.raises(ValueError, match=name) as caught:
        load_conversations(spec)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000
    data = load_conversations(spec.model_copy(update={"skip_broken": True}))
    assert [c.id for c in data.conversations] == ["first", "last"]
    assert [(f.fault, f.sample) for f in data.skipped] == [(fault, name)]
    str(data.skipped).encode()


READ: list[tuple[str, dict[str, Any]]] = [
    (row(answer=0), {"answers": ["0"]}),
    (row(answer=False), {"answers": ["false"]}),
    (row(answer=True), {"answers": ["true"]}),
    (row(answer=3), {"answers": ["3"]}),
    (row(answer=-2.5), {"answers": ["-2.5"]}),
    (row(2024), {"questions": ["2024"]}),
    (row(answer="0"), {"answers": ["0"]}),
    (row(answer="\\ud83d\\ude00").replace("\\\\", "\\"), {"answers": ["\U0001f600"]}),
    (row(answer="NaN"), {"answers": ["NaN"]}),
    (row("", image="0.png"), {"questions": [""], "images": ["0.png"]}),
    (row(image=None), {"images": []}),
    (row(image=""), {"images": []}),
    (row(image=[]), {"images": []}),
    (row(images=[], videos=None), {"images": []}),
    (row("<image>", images=["0.png"]), {"images": ["0.png"]}),
    (row("<image>", image=None, images="0.png"), {"images": ["0.png"]}),
    (row("<image>", image="0.png", images=["0.png"]), {"images": ["0.png"]}),
    (row("<image><image>", images=["0.png", "1.png"]), {"images": ["0.png", "1.png"]}),
    (row("<image>", image="0.png", image_id="7", image_url="x"), {"images": ["0.png"]}),
    (row(image_size=[6, 4], has_image=False, num_images=0), {"images": []}),
    (row("Picture 1: <image>\nPicture 2: <image>\nWhy?", image=["0.png", "1.png"]),
     {"images": ["0.png", "1.png"]}),
    (row("Mark it up.", '<video controls><img src="a.png"></video>'),
     {"answers": ['<video controls><img src="a.png"></video>']}),
    (row('What does <img src="a.png" alt="x"> do?'), {"images": []}),
    (row(intermediate="steps", model="", source="vg"), {"answers": ["So."]}),
    (row("<image>", image="./folder/../0.png"), {"images": ["folder/../0.png"]}),
    (row("Why?" * 10**6), {"questions": ["Why?" * 10**6]}),
    (row(id="tab\tand\nline"), {"id": "tab\\tand\\nline"}),
    (row(id=7), {"id": "7"}),
]  # fmt: skip


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(("odd", "meant"), READ)
def test_a_sound_row_keeps_its_meaning(
    folder: Path, odd: str, meant: dict[str, Any], lines: bool
) -> None:
    data = load_conversations(write(folder, odd, lines))
    _, sample, _ = data.conversations
    found = {
        "id": sample.id,
        "images": [str(path.relative_to(folder)) for path in sample.images],
        "questions": [question for question, _ in sample.turns],
        "answers": [answer for _, answer in sample.turns],
    }
    assert {key: found[key] for key in meant} == meant


A, B = (PLAIN.replace('"odd"', f'"{name}"') for name in "ab")


@pytest.mark.parametrize(
    "text",
    [
        f"[{A},{B},]",
        f"{A},\n{B},\n",
        f"{A}\r\n{B}\r\n",
        f"{A}{B}",
        f"\ufeff{A}\n\ufeff{B}\n",
        f"\n\n {A}\n\n\n{B}\n ",
        "\n".join(json.dumps(json.loads(line), indent=2) for line in (A, B)),
        f"\ufeff[\r\n{A},\r\n{B}\r\n]\r\n",
    ],
)
@pytest.mark.parametrize("chunk", [3, 10**6])
def test_files_that_are_put_together_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, chunk: int
) -> None:
    monkeypatch.setattr(formats, "CHUNK", chunk)
    (tmp_path / "data.json").write_bytes(text.encode())
    data = load_conversations(DataSpec(conversations=str(tmp_path / "data.json")))
    assert [c.id for c in data.conversations] == ["a", "b"]


def test_a_damaged_row_never_takes_its_neighbours_along(tmp_path: Path) -> None:
    """Where its end is not plain, the file is refused."""
    path = tmp_path / "data.json"
    spec = DataSpec(conversations=str(path), skip_broken=True)
    for text in (
        f"[{A[:-1]}, {B}]",
        f"[{A[:-1]}, {B}}}, {A}]",
        f"[{A.replace('So.', 'So.' + chr(34))}, {B}]",
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match="not valid JSON after 0 whole rows"):
            load_conversations(spec)
    for text in (
        f"{A[:-1]}\n{B}\n",
        f"{A[:40]}\n{B}",
        f"{A.replace('So.', chr(34))}\n{B}",
        f"x{A[1:]}\n{B}",
    ):
        path.write_text(text)
        data = load_conversations(spec)
        assert [c.id for c in data.conversations] == ["b"]
        assert [(f.fault, f.sample) for f in data.skipped] == [("no JSON", "a")]


def test_links_lead_to_named_folders_alone(folder: Path, tmp_path: Path) -> None:
    names = [
        "out/there.png",
        "out/nowhere.png",
        "gone/1.png",
        str(tmp_path / "elsewhere/there.png"),
    ]
    path = folder / "data.json"
    path.write_text("\n".join(row("<image>", image=n, id=n) for n in [*names, "0.png"]))
    spec = DataSpec(conversations=str(path), skip_broken=True)
    shut = load_conversations(spec)
    assert [c.id for c in shut.conversations] == ["0.png"]
    assert {f.fault for f in shut.skipped} == {"image outside its folder"}
    assert all("data.linked_folders" in f.message for f in shut.skipped)
    assert str(tmp_path / "unmounted" / "1.png") in shut.skipped[2].message
    linked = (str(tmp_path / "elsewhere"),)
    some = load_conversations(spec.model_copy(update={"linked_folders": linked}))
    assert [c.id for c in some.conversations] == [names[0], names[3], "0.png"]
    assert [f.fault for f in some.skipped] == ["missing image", "image outside its folder"]
