"""An axis is one row: a new one is found wherever there are axes, and nothing else is touched."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from helpers.pages import figures_of
from helpers.trials import make_dense, make_trial, write_sweep
from typer.testing import CliRunner

from analysis.axes import AXES, Axis, x_axes
from analysis.frontier import find_frontier
from analysis.load import load_trials
from analysis.output.frontier_files import write_frontier
from analysis.recommend import recommend
from analysis.tables import frontier_table
from sweeps.engine.cli import app
from sweeps.engine.track.run_values import trial_metrics

PARAMS = Axis(
    "all_params", "Parameters of everything", "", "lower", lambda record, _: record.efficiency and
    record.efficiency.params, heading="parameters",
)  # fmt: skip
SPEED = Axis(
    "prompts_per_tflop", "Prompts per TFLOP", "per second", "higher",
    lambda record, _: 1 / record.efficiency.tflops if record.efficiency else None,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep whose axes have two more rows."""
    for axis in (PARAMS, SPEED):
        monkeypatch.setitem(AXES, axis.name, axis)
    trials = [
        make_trial("a", 0.5, ratio=0.6, tflops=0.5),
        make_trial("b", 0.8, ratio=0.3, tflops=1.0),
        make_trial("c", 0.7, ratio=0.2, tflops=1.25),
        make_dense(),
    ]
    return write_sweep(tmp_path, trials)


def test_the_new_axis_is_a_choice_of_the_command(folder: Path) -> None:
    command = ["frontier", "demo", "--storage", str(folder.parent), "--x"]
    done = CliRunner().invoke(app, [*command, "all_params"])
    assert done.exit_code == 0, done.output
    header, first, *_ = done.output.splitlines()
    assert "parameters" in header
    assert first.startswith("a ")
    assert "2,100,000" in first
    refused = CliRunner().invoke(app, [*command, "all_parms"])
    assert refused.exit_code == 2
    assert "all_params" in refused.output
    assert "did you mean 'all_params'" in refused.output


def test_the_new_axis_is_in_the_table_the_files_and_the_pictures(folder: Path) -> None:
    files = write_frontier(folder, "all_params")
    assert files.csv.name == "frontier-all_params.csv"
    rows = list(csv.DictReader(files.csv.open()))
    assert [row["all_params"] for row in rows] == ["2100000", "3300000", "4500000"]
    assert "| parameters |" in files.markdown.read_text()
    figure = figures_of(folder)["s0-frontier-all_params"]
    assert figure["layout"]["xaxis"]["title"]["text"] == "Parameters of everything"
    content = json.loads(files.json.read_text())
    assert content["points"][0]["all_params"] == 2_100_000
    assert files.png.stat().st_size > 10_000
    # (3.3 - 2.1) * 0.5 + (4.5 - 3.3) * 0.8, up to the dense base
    assert content["hypervolume"] == pytest.approx(1e6 * (1.2 * 0.5 + 1.2 * 0.8))
    default = csv.DictReader(write_frontier(folder).csv.open())
    assert default.fieldnames is not None
    assert default.fieldnames[-2:] == ["all_params", "prompts_per_tflop"]


def test_an_axis_of_which_more_is_better_turns_the_frontier_round(folder: Path) -> None:
    front = find_frontier(load_trials(folder), "prompts_per_tflop")
    assert [p.trial_id for p in front.points] == ["a", "b", "dense"]
    assert [p.trial_id for p in front.dominated] == ["c"]
    # The corner is the dense base's 0.5: (2 - 1) * 0.5 + (1 - 0.5) * 0.8
    assert front.hypervolume == pytest.approx(0.9)
    assert front.hypervolume_share is None, "the box has no end"
    assert "Prompts per TFLOP" in frontier_table(front).header
    figure = figures_of(folder)["s0-frontier-prompts_per_tflop"]
    assert figure["layout"]["xaxis"]["title"]["text"] == "Prompts per TFLOP (per second)"


def test_the_new_axis_limits_and_is_a_metric(folder: Path) -> None:
    trials = load_trials(folder)
    chosen = recommend(trials, max={"all_params": 3e6}).trial
    assert chosen is not None
    assert chosen.trial_id == "a"
    assert {m.key: m.value for m in trial_metrics(trials[0])}["all_params"] == 2_100_000


def test_help_lists_every_axis() -> None:
    text = " ".join(CliRunner().invoke(app, ["frontier", "--help"]).output.split())
    for name in x_axes():
        assert name in text


def test_every_axis_says_what_it_is() -> None:
    for name, axis in AXES.items():
        assert name == axis.name
        assert axis.label
    assert AXES["weights_mib"].title == "Weight memory (MiB)"
    assert AXES["kept"].title == "Fraction of the language model kept"
