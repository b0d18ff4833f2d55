"""`prunesweep plan --cost`: memory and FLOPs of known models, without a sweep."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import sweeps.engine.plan.model_sizes as sizes
from sweeps.engine.cli import app
from sweeps.engine.plan.model_sizes import cost_rows, model_rows
from sweeps.engine.show.model_tables import print_costs, print_models
from trainables.models.families.registry import MODELS

pytestmark = pytest.mark.slow


def test_no_number_is_cut_off_at_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Console(width=80, force_terminal=True, color_system=None)
    print_costs(cost_rows("llava-hf/llava-1.5-13b-hf"), terminal)
    print_costs(cost_rows("tiny"), terminal)
    print_models(model_rows("llava-hf/llava-1.5-13b-hf"), terminal)
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "Left out" not in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_one_model_has_its_parts_and_memory() -> None:
    result = CliRunner().invoke(app, ["plan", "--cost", "--model", "tiny", "--json"])
    assert result.exit_code == 0, result.output
    dense, *others = json.loads(result.stdout)["rows"]
    assert len(others) == 8
    parts: dict[str, Any] = dense["parts"]
    assert dense["memory"]["weights_mib"] == pytest.approx(2 * sum(parts.values()) / 2**20)
    for row in others:
        assert row["memory"]["total_mib"] < dense["memory"]["total_mib"]
        assert row["tflops"] < dense["tflops"]
        assert {k: v for k, v in row["parts"].items() if k != "language_model"} == {
            k: v for k, v in parts.items() if k != "language_model"
        }


def test_it_goes_with_no_sweep_and_no_other_table() -> None:
    for arguments in (["quickstart"], ["--models"]):
        result = CliRunner().invoke(app, ["plan", "--cost", *arguments], env={"COLUMNS": "200"})
        assert result.exit_code == 2
        assert "one model with --model NAME" in result.stderr


def test_without_a_model_it_is_all_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the counts of the embedded model for each, which are quick to have."""
    (counted,) = sizes.count([sizes.Question(config=sizes._usual("tiny")[0].config, students=())])
    monkeypatch.setattr(
        sizes,
        "count",
        lambda questions: [
            counted.model_copy(update={"activations": (2**20,) * len(question.students)})
            for question in questions
        ],
    )
    result = CliRunner().invoke(app, ["plan", "--cost", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert list(dict.fromkeys(row["model"] for row in rows)) == list(MODELS)
    assert all(row["memory"]["activations_mib"] == 1.0 for row in rows)


def test_the_driver_needs_no_torch() -> None:
    code = (
        "import sys; import sweeps.engine.show.model_tables, sweeps.engine.plan.model_sizes; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
