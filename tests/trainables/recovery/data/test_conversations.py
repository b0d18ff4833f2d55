"""Reading conversations: what is refused, by whose id, and how subsets nest."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.conversations import repaint, write_conversations

from trainables.recovery.data import table
from trainables.recovery.data.conversations import ConversationData, load_conversations
from trainables.recovery.data.images import ImageFolder, open_image
from trainables.specs import DataSpec


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ({"conversations": [{"from": "human", "value": "why ?"}]}, "end with an answer"),
        ({"conversations": []}, "has no `conversations`"),
        ({"conversations": [{"from": "gpt", "value": "b"}] * 2}, "must alternate"),
        ({"conversations": [{"from": "system", "value": "b"}] * 2}, "must alternate"),
        ({"conversations": ["why ?", "so"]}, "must alternate"),
        ({"image": None}, "0 images, but 1 <image> marks"),
        ({"image": ["0.png", "1.png"]}, "2 images, but 1 <image> marks"),
        (
            {
                "conversations": [
                    {"from": "human", "value": "a"},
                    {"from": "gpt", "value": "<image>"},
                ]
            },
            "1 in its answers",
        ),
        ({"video": "film.mp4"}, "video"),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": " "}]},
            "empty",
        ),
        ({"image": "nowhere.png"}, "does not exist"),
        ({"image": "../secret.png"}, "leaves the folder"),
        ({"image": "/etc/hostname"}, "leaves the folder"),
        ({"image": {"path": "a"}}, "a path or a list"),
    ],
)
def test_a_broken_sample_is_named_or_skipped(
    tmp_path: Path, first: dict[str, Any], message: str
) -> None:
    path = write_conversations(tmp_path, 5, **first)
    with pytest.raises(ValueError, match=message) as caught:
        load_conversations(DataSpec(conversations=str(path)))
    assert "sample-0" in str(caught.value)
    assert "skip_broken" in str(caught.value)
    kept = load_conversations(DataSpec(conversations=str(path), skip_broken=True))
    assert [c.id for c in kept.conversations] == [f"sample-{i}" for i in range(1, 5)]
    assert [(fault.sample, message in fault.message) for fault in kept.skipped] == [
        ("sample-0", True)
    ]


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    path = write_conversations(tmp_path, 2)
    content = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(content[: len(content) // 2])
    data = load_conversations(DataSpec(conversations=str(path)))
    whole, half = data.conversations
    assert open_image(whole.images[0], whole.id).mode == "RGB"
    with pytest.raises(ValueError, match=r"sample-1.*truncated"):
        open_image(half.images[0], half.id)


def test_files_that_are_no_conversations(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    for content, message in [
        ("[{", "truncated"),
        ('{"a": 1}', "'row 0' has no .conversations."),
        ("[]", "no usable"),
    ]:
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            load_conversations(DataSpec(conversations=str(path)))
    with pytest.raises(ValueError, match="cannot read"):
        load_conversations(DataSpec(conversations=str(tmp_path / "missing.json")))


def test_a_skipped_sample_comes_back_with_its_image(tmp_path: Path) -> None:
    path = write_conversations(tmp_path, 3, image="late.png")
    spec = DataSpec(conversations=str(path), skip_broken=True)
    before = load_conversations(spec)
    (tmp_path / "late.png").write_bytes((tmp_path / "1.png").read_bytes())
    after = load_conversations(spec)
    assert (len(before.conversations), len(after.conversations)) == (2, 3)
    assert before.digest != after.digest


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    folder.mkdir()
    (outside / "secret.png").write_bytes(b"")
    (folder / "link.png").symlink_to(outside / "secret.png")
    (folder / "sub").symlink_to(outside)
    (folder / "real.png").write_bytes(b"")
    (folder / "alias.png").symlink_to(folder / "real.png")
    images = ImageFolder(folder)
    for name in ("link.png", "sub/secret.png", "sub/../outside/secret.png", ".."):
        with pytest.raises(ValueError, match=r"'x'.*leaves the folder"):
            images.check(name, "x")
    for name in ("sub", ".", "nothing.png"):
        with pytest.raises(ValueError, match=r"'x'.*(does not exist|leaves the folder)"):
            images.check(name, "x")
    for name in ("real.png", "alias.png", "./real.png"):
        images.check(name, "x")


def test_conversations_are_read_from_the_table_that_was_built_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = DataSpec(conversations=str(write_conversations(tmp_path, 5)))
    first = load_conversations(spec)
    monkeypatch.setattr(table, "parse_row", pytest.fail)
    again = pickle.loads(pickle.dumps(load_conversations(spec).conversations))
    assert list(again) == list(first.conversations)
    assert list(first.conversations[1:3]) == [first.conversations[1], first.conversations[2]]
    assert first.conversations[-1] == first.conversations[4]
    assert first.conversations[4].images == (tmp_path.resolve() / "4.png",)
    with pytest.raises(IndexError):
        first.conversations[5]


def test_a_folder_that_takes_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file")
    with pytest.raises(ValueError, match="set HF_DATASETS_CACHE"):
        load_conversations(DataSpec(conversations=str(write_conversations(tmp_path, 2))))


def test_subsets_are_nested_and_depend_on_the_seed(conversations: ConversationData) -> None:
    small, large = conversations.subset(0.1, 3), conversations.subset(0.5, 3)
    assert len(small) == 4
    assert len(large) == 20
    assert np.array_equal(small, large[:4])
    assert len(set(large)) == 20
    assert not np.array_equal(large, conversations.subset(0.5, 4))
    assert conversations.subset_digest(small) != conversations.subset_digest(large)
    assert len(conversations.subset(0.001, 0)) == 1


def test_the_digest_of_a_subset_is_not_of_its_ids_alone(tmp_path: Path) -> None:
    """Ids may repeat within a file, and stay when its samples change."""
    path = write_conversations(tmp_path, 4)
    rows = [{**row, "id": "same"} for row in json.loads(path.read_text())]
    path.write_text(json.dumps(rows))
    found = load_conversations(DataSpec(conversations=str(path)))
    halves = [found.subset_digest(np.array(half)) for half in ([0, 1], [2, 3])]
    path.write_text(json.dumps([*reversed(rows)]))
    other = load_conversations(DataSpec(conversations=str(path)))
    assert len({*halves, other.subset_digest(np.array([0, 1]))}) == 3


def test_a_glance_at_the_pictures_tells_other_ones(tmp_path: Path) -> None:
    path = write_conversations(tmp_path, 4)
    (tmp_path / "elsewhere").mkdir()
    moved = write_conversations(tmp_path / "elsewhere", 4)
    here, there = (load_conversations(DataSpec(conversations=str(p))) for p in (path, moved))
    assert here.picture_digest() == there.picture_digest() is not None
    repaint(tmp_path)
    assert here.picture_digest() != there.picture_digest()
    (tmp_path / "0.png").unlink()
    assert here.picture_digest() is None


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    path = write_conversations(tmp_path, 3)
    spec = DataSpec(conversations=str(path))
    before = load_conversations(spec).digest
    assert load_conversations(spec).digest == before
    rows = json.loads(path.read_text())
    rows[0]["conversations"][1]["value"] = "blue"
    path.write_text(json.dumps(rows))
    assert load_conversations(spec).digest != before
