"""Small sweeps whose trials are answered by an analytic function, not by training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.agendas import open_agenda

from sweeps.engine.search.agenda import Agenda
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger


@pytest.fixture
def small_sweep() -> Callable[..., SweepSpec]:
    """A function that makes a sweep of two methods and two ratios; keywords change it."""

    def make(**changes: Any) -> SweepSpec:
        plain: dict[str, Any] = {
            "name": "small",
            "question": "does the engine work?",
            "strata": {"method": ("layerwise", "widthwise"), "ratio": (0.3, 0.6)},
            "designed": ({"method": "layerwise", "ratio": 0.3, "scope": "none"},),
            "samples": 8,
            "startup_samples": 2,
        }
        return SweepSpec.model_validate({**plain, **changes})

    return make


@pytest.fixture
def make_agenda(tmp_path: Path) -> Callable[..., tuple[Agenda, Ledger]]:
    """A function that opens a ledger below the test's folder and an agenda over it."""

    return lambda sweep, *candidates: open_agenda(sweep, tmp_path / "storage", *candidates)
