"""A folder with pictures that questions are asked about."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.question_files import draw


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures 0.png to 11.png."""
    return draw(tmp_path)
