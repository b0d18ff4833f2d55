"""A random LLaVA of two layers, to be measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers.random_llava import make_model


@pytest.fixture(scope="session")
def model() -> Any:
    """A random model; tests do not change it."""
    return make_model()


@pytest.fixture(scope="session")
def build_model() -> Callable[..., Any]:
    """`make_model`, for tests that change their model or its sizes."""
    return make_model
