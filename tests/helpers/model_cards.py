"""The Python of a model card, run as a reader would who pastes it."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from PIL import Image


def run_snippet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the card's snippet prints in `folder`, where a picture lies too."""
    _, _, rest = (folder / "README.md").read_text().partition("```python\n")
    Image.new("L", (50, 40), 90).save(folder / "picture.png")
    monkeypatch.chdir(folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(rest.partition("```")[0], "README.md", "exec"), {})
    return printed.getvalue()
