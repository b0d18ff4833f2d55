"""The reference of the settings is what the specs say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from trainables.specs import Frozen

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference() -> Any:
    path = ROOT / "docs" / "scripts" / "reference.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_page_is_current(reference: Any) -> None:
    assert reference.PAGE.read_text() == reference.page(), "run `make reference`"


def test_rows_say_type_bounds_default_and_meaning(reference: Any) -> None:
    page = reference.page()
    ratio = "| `trial.pruning.ratio` | number, >= 0, < 1 | `0.0` | fraction |"
    assert ratio in page
    rung = "| `rungs.fractions` | list of number | `[0.25, 0.5]` |  | rising shares"
    assert rung in page
    assert "| `trial.recovery.budget.tflops` | number or none, > 0 | `none` | TFLOPs |" in page


def test_a_setting_without_its_line_is_an_error(
    reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Frozen):
        """Nothing is said of its field."""

        field: int = Field(1, ge=1)

    monkeypatch.setattr(reference, "SweepSpec", Silent)
    with pytest.raises(ValueError, match=r"Silent: no line in its docstring for \['field'\]"):
        reference.page()
