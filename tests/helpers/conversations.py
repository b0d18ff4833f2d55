"""Conversation files that tests write: real images, the embedded model's questions."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

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


def repaint(folder: Path) -> None:
    """Put noise of the same size in place of every picture in `folder`, under its name."""
    from PIL import Image

    for path in folder.glob("*.png"):
        noise = random.Random(path.name).randbytes(36 * 36 * 3)
        Image.frombytes("RGB", (36, 36), noise).save(path)
