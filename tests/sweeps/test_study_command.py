"""`prunesweep study` as a user calls it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from helpers.command_line import invoke, refused
from helpers.ledgers import old_quickstart
from helpers.terminal import in_terminal

from analysis.published.entries import Setting
from analysis.published.study_tables import ALL_SWEEPS, FIGURES, TABLES
from sweeps.engine.search.fixed_points import fixed_points
from sweeps.engine.spec.loading import load_sweep
from trainables.common.files import write_json
from trainables.records import SWEEP


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    old_quickstart(tmp_path / "runs")
    return tmp_path / "runs"


def test_without_a_table_all_are_listed() -> None:
    said = invoke("study").stdout
    for name in (*TABLES, *FIGURES):
        assert f"\n{name} " in said
    found = json.loads(invoke("study", "--json").stdout)
    assert [t["name"] for t in found["tables"]] == list(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_a_sweep_fills_what_it_has(storage: Path, name: str) -> None:
    said = invoke("study", name, "quickstart", "--storage", storage).stdout
    found = json.loads(invoke("study", name, "quickstart", "--storage", storage, "--json").stdout)
    assert found["model"] == "tiny"
    assert "here: tiny, quickstart" in said
    commands = [line for line in said.splitlines() if line.startswith("prunesweep run")]
    for command in commands:
        _, _, *arguments = shlex.split(command)
        sweep = load_sweep(arguments[0])
        assert sweep.name == "quickstart"
        if name != "table3":
            continue
        planned = json.loads(invoke("plan", *arguments, "--json").stdout)
        assert planned["total"] == len(sweep.designed) + 1, "the dense base, which is known"
    assert commands or name in ("table2", "table6", "table7")


def test_a_terminal_of_80_columns_holds_it(storage: Path) -> None:
    lines = in_terminal(80, storage.parent, "study", "table1", "quickstart")
    assert max(map(len, lines)) <= 80
    assert sum("configuration" in line for line in lines) == 2, "it goes on below"
    assert max(map(len, in_terminal(80, storage.parent, "study"))) <= 80


def test_a_figure_names_its_commands(storage: Path) -> None:
    said = invoke("study", "figure1", "quickstart").stdout.splitlines()
    assert said[1:] == ["prunesweep recommend quickstart --recipe", "prunesweep spider quickstart"]


def test_markdown_is_a_table(storage: Path) -> None:
    said = invoke("study", "table7", "--published", "llava-v1.5-7b", "--markdown").stdout
    assert said.startswith("| configuration | memory, MiB | TFLOPs |\n| --- | ---: | ---: |\n")
    assert "| layerwise 60% | 5496* | 3.90 |" in said


@pytest.mark.parametrize("name", ALL_SWEEPS)
def test_the_sweeps_of_the_study_fill_every_cell(name: str) -> None:
    """By what is asked for, since no trial has run: nothing twice, and every table."""
    sweep = load_sweep(name)
    specs = [spec for *_, spec in fixed_points(sweep)]
    assert len({spec.configuration for spec in specs}) == len(specs) == 68
    asked = {
        Setting(
            method=spec.pruning.method if spec.pruning.prunes else "dense",
            ratio=spec.pruning.ratio,
            scope=spec.recovery.scope,
            terms=spec.recovery.loss.terms if spec.recovery.scope != "none" else "",
            hidden_layers=spec.recovery.loss.hidden_layers,
            quantization=spec.quantization,
        )
        for spec in specs
    }
    for table in TABLES.values():
        wanted = set(table.settings) if table.name != "data" else set()
        assert wanted <= asked, (table.name, wanted - asked)
    if name not in ("study_tiny", "study_smol"):  # the study's own units and weights
        losses = {spec.recovery.loss for spec in specs if spec.recovery.scope == "joint"}
        assert {loss.normalize for loss in losses} == {"none"}
        assert {loss.alpha for loss in losses} == {0.0, 0.5, 1.0}
        assert {spec.recovery.lora_rank for spec in specs if spec.recovery.scope == "joint"} == {
            {"study_llava_7b": 128, "study_bunny_3b": 64, "study_internvl_4b": 16}[name]
        }


def test_a_sweep_without_trials_is_planned_whole(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    folder.mkdir()
    write_json(folder / SWEEP, load_sweep("quickstart"))
    said = invoke("study", "table1", "quickstart", "--storage", tmp_path).stdout.splitlines()
    assert f"prunesweep run quickstart --storage {tmp_path}" in said, "it scores the dense model"
    assert len(load_sweep(str(folder / "study-table1.yaml")).designed) == 8
    assert not any("another sweep" in line for line in said)


def test_bad_input_is_one_line(storage: Path) -> None:
    assert "Did you mean 'table3'" in refused("study", "tabel3")
    assert "did you mean 'quickstart'" in refused(
        "study", "table3", "quickstar", "--storage", storage
    )
    assert "not a known model of table4" in refused("study", "table4", "--published", "bunny")
    other = storage / "realistic"
    other.mkdir()
    write_json(other / SWEEP, load_sweep("realistic"))
    said = refused("study", "table3", "quickstart", "realistic", "--storage", storage)
    assert "the model is tiny in the one and smol in the other" in said
