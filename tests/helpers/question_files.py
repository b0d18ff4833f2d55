"""Files of questions about small pictures, as a user writes them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

IMAGES = 12


def png(shade: int) -> bytes:
    """A small picture, another one for each shade."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def rows(per_image: int = 2) -> list[dict[str, Any]]:
    """The questions about each picture: the first is answered with red, the second with blue."""
    return [
        {"image": f"{i}.png", "question": f"what is {q}?", "answer": ["red", "blue"][q % 2]}
        for i in range(IMAGES)
        for q in range(per_image)
    ]


def draw(folder: Path) -> Path:
    """Pictures 0.png to 11.png."""
    for i in range(IMAGES):
        (folder / f"{i}.png").write_bytes(png(20 * i))
    return folder


def write(folder: Path, given: Any, name: str = "mine.json") -> str:
    """Writes rows, or a text as it is; hands back the path."""
    path = folder / name
    path.write_text(given if isinstance(given, str) else json.dumps(given), encoding="utf-8")
    return str(path)
