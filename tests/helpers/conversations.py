"""Conversation files that tests write: real images, the embedded model's questions."""

from __future__ import annotations

import json
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
