"""Reading conversations: what is refused, by whose id, and how subsets nest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.recovery.data import ConversationData, load_conversations, open_image
from trainables.specs import DataSpec

from .conftest import write_conversations


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ({"conversations": [{"from": "human", "value": "why ?"}]}, "end with an answer"),
        ({"conversations": []}, "has no `conversations`"),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": " "}]},
            "empty",
        ),
        ({"image": "nowhere.png"}, "does not exist"),
        ({"image": "../secret.png"}, "leaves the folder"),
        ({"image": "/etc/hostname"}, "leaves the folder"),
        ({"image": ["a", "b"]}, "one relative path"),
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
    assert len(kept.conversations) == 4
    assert len(kept.skipped) == 1


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    path = write_conversations(tmp_path, 2)
    content = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(content[: len(content) // 2])
    data = load_conversations(DataSpec(conversations=str(path)))
    assert open_image(data.conversations[0]).mode == "RGB"
    with pytest.raises(ValueError, match=r"sample-1.*truncated"):
        open_image(data.conversations[1])


def test_files_that_are_no_conversations(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    for content, message in [("[{", "truncated"), ('{"a": 1}', "JSON list"), ("[]", "no usable")]:
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            load_conversations(DataSpec(conversations=str(path)))
    with pytest.raises(ValueError, match="cannot read"):
        load_conversations(DataSpec(conversations=str(tmp_path / "missing.json")))


def test_a_text_only_sample_and_numeric_ids(tmp_path: Path) -> None:
    path = write_conversations(tmp_path, 2, image=None, id=17)
    first = load_conversations(DataSpec(conversations=str(path))).conversations[0]
    assert first.image is None
    assert first.id == "17"


def test_subsets_are_nested_and_depend_on_the_seed(conversations: ConversationData) -> None:
    small, large = conversations.subset(0.1, 3), conversations.subset(0.5, 3)
    assert len(small) == 4
    assert len(large) == 20
    assert np.array_equal(small, large[:4])
    assert len(set(large)) == 20
    assert not np.array_equal(large, conversations.subset(0.5, 4))
    assert conversations.subset_digest(small) != conversations.subset_digest(large)
    assert len(conversations.subset(0.001, 0)) == 1


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    path = write_conversations(tmp_path, 3)
    spec = DataSpec(conversations=str(path))
    before = load_conversations(spec).digest
    assert load_conversations(spec).digest == before
    rows = json.loads(path.read_text())
    rows[0]["conversations"][1]["value"] = "blue"
    path.write_text(json.dumps(rows))
    assert load_conversations(spec).digest != before
