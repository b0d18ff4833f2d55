"""Real processors for the tiny models of every family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers.family_processors import make_processor


@pytest.fixture(scope="session")
def family_processor() -> Callable[[str], Any]:
    """`make_processor(family name)`; skips SmolVLM where `num2words` is not installed."""
    return make_processor
