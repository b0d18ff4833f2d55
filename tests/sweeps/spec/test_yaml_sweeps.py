"""Sweeps as YAML files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.engine.plan.preflight import check_sweep
from sweeps.engine.search.fixed_points import resolve_point
from sweeps.engine.spec.loading import BadInputError, load_sweep

GOOD = """\
name: mine
question: does YAML do?
trial:
  recovery: {learning_rate: 1e-3, budget: {steps: 3}, teacher: {mode: online}}
  pruning:
    importance: {samples: 8}
strata:
  method: [layerwise, widthwise]
  ratio: [0.3, 6e-1]
choices:
  recovery.weight_decay: [0, 1e-2]
designed:
  - {method: layerwise, ratio: 0.3, scope: none}
samples: 4
"""


def write(folder: Path, text: str) -> str:
    (folder / "mine.yaml").write_text(text)
    return str(folder / "mine.yaml")


def test_a_yaml_sweep_is_the_sweep_that_python_would_make(tmp_path: Path) -> None:
    sweep = load_sweep(write(tmp_path, GOOD), ["samples=7"])
    assert sweep.trial.recovery.learning_rate == 1e-3
    assert sweep.strata["ratio"] == (0.3, 0.6)
    assert sweep.choices["recovery.weight_decay"] == (0, 0.01)
    assert sweep.samples == 7
    check_sweep(sweep)


def test_it_names_functions_beside_it(tmp_path: Path) -> None:
    (tmp_path / "near.py").write_text(
        "def space(trial, cell, base):\n"
        "    return {'recovery.weight_decay': trial.suggest_float('decay', 0, 1)}\n"
    )
    sweep = load_sweep(write(tmp_path, "name: mine\nquestion: '?'\nspace: near.py:space\n"))
    assert resolve_point(sweep, {"decay": 0.5})[2].recovery.weight_decay == 0.5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("samples: 4", "sample: 4", r"line 14: 'sample' is no field of SweepSpec \(.*'samples'"),
        ("samples: 8", "sampels: 8", r"line 6: 'sampels' is no .*ImportanceSpec \(.*'samples'"),
        ("steps: 3", "stpes: 3", r"line 4: 'stpes' is no field of Budget .*'steps'"),
        ("samples: 4", "samples: -4", r"line 14: samples=-4: .*greater than or equal to 0"),
        ("1e-3", "fast", r"line 4: trial.recovery.learning_rate='fast'"),
        (
            "recovery.weight_decay:",
            "recovery.weight_decy:",
            r"line \d\d: 'recovery.weight_decy' is no",
        ),
        ("samples: 4", "name: other", "line 14: name stands there twice"),
        ("[0, 1e-2]", "[0, -1]", "recovery.weight_decay=-1"),
        ("method: [", "method: ][", r"mine.yaml, line 8: "),
        (GOOD, "- 3\n", "holds no sweep; write its fields"),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        load_sweep(write(tmp_path, GOOD.replace(old, new)))


def test_a_python_sweep_with_an_unknown_setting_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from sweeps.engine.spec import SweepSpec\n"
        "sweep = SweepSpec(name='mine', question='?', sampels=3)\n"
    )
    with pytest.raises(BadInputError, match=r"line 2: 'sampels' is no setting \(.*'samples'"):
        load_sweep(str(tmp_path / "mine.py"))
