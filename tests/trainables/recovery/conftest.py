"""A handful of real conversations with images, and the embedded model's processor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainables.recovery.data.conversations import ConversationData, load_conversations
from trainables.specs import DataSpec

QUESTIONS = ("what color is the circle ?", "is there a red square ?", "how many circles ?")
ANSWERS = ("red", "no", "2")


def write_conversations(folder: Path, count: int, **first: Any) -> Path:
    """`count` conversations with images; keys in `first` overwrite those of the first sample."""
    from PIL import Image

    rows: list[dict[str, Any]] = []
    for i in range(count):
        Image.new("RGB", (36, 36), (40 * (i % 6), 90, 200)).save(folder / f"{i}.png")
        turns = [
            {"from": "human", "value": f"<image>\n{QUESTIONS[i % 3]}"},
            {"from": "gpt", "value": ANSWERS[i % 3]},
        ]
        rows.append({"id": f"sample-{i}", "image": f"{i}.png", "conversations": turns})
    rows[0] |= first
    path = folder / "data.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> ConversationData:
    """Forty conversations with images of the embedded model's size."""
    path = write_conversations(tmp_path_factory.mktemp("conversations"), 40)
    return load_conversations(DataSpec(conversations=str(path)))


@pytest.fixture(scope="session")
def processor() -> Any:
    """The embedded model's processor, loaded as a user would."""
    from transformers import AutoProcessor

    from trainables.models.families.registry import TINY_FOLDER

    return AutoProcessor.from_pretrained(TINY_FOLDER)
