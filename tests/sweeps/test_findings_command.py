"""`prunesweep findings` as a user calls it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from helpers.command_line import invoke, refused
from helpers.ledgers import old_quickstart
from helpers.terminal import in_terminal

from sweeps.engine.spec.loading import load_sweep
from trainables.common.files import write_json
from trainables.records import SWEEP


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    old_quickstart(tmp_path / "runs")
    return tmp_path / "runs"


def test_each_claim_gets_a_word_and_the_printed_command_plans(storage: Path) -> None:
    said = invoke("findings", "quickstart", "--storage", storage).stdout
    found = json.loads(invoke("findings", "quickstart", "--storage", storage, "--json").stdout)
    assert found["findings"][0]["word"] == "does not hold"
    for finding in found["findings"]:
        assert f"{finding['word']:<13}  {finding['text']}: " in said
    (command,) = (
        line
        for line in said.splitlines()
        if line.startswith("prunesweep run") and "-more" not in line
    )
    _, _, *arguments = shlex.split(command)
    planned = json.loads(invoke("plan", *arguments, "--json").stdout)
    new = load_sweep(arguments[0])
    assert planned["total"] == len(new.designed) + 1, "the dense base, which is known"


def test_a_terminal_of_80_columns_holds_it(storage: Path) -> None:
    lines = in_terminal(80, storage.parent, "findings", "quickstart")
    assert max(map(len, lines)) <= 80
    assert "prunesweep run runs/quickstart/findings.yaml" in lines


def test_the_printed_numbers_stand_beside_it(storage: Path) -> None:
    both = json.loads(
        invoke(
            "findings", "quickstart", "--storage", storage, "--json",
            "--published", "bunny-v1.0-3b",
        ).stdout
    )  # fmt: skip
    assert [report["printed"] for report in both] == [False, True]
    alone = invoke("findings", "--published", "bunny-v1.0-3b").stdout
    assert "ce+l2 - ce +2.7 over 0.15, 0.30, 0.45, 0.60" in alone
    assert "prunesweep run" not in alone


def test_bad_input_is_one_line(storage: Path) -> None:
    assert "name a sweep" in refused("findings")
    assert "did you mean 'quickstart'" in refused("findings", "quickstar", "--storage", storage)
    assert "no findings of 'bunny'" in refused("findings", "--published", "bunny")
    other = storage / "realistic"
    other.mkdir()
    write_json(other / SWEEP, load_sweep("realistic"))
    said = refused("findings", "quickstart", "realistic", "--storage", storage)
    assert "the model is tiny in the one and smol in the other" in said


def test_a_sweep_without_trials_is_planned_whole(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    folder.mkdir()
    write_json(folder / SWEEP, load_sweep("quickstart"))
    said = invoke("findings", "quickstart", "--storage", tmp_path).stdout
    assert said.count("cannot say") == 7
    sweep = load_sweep(str(folder / "findings.yaml"))
    assert {"none", "projector", "joint"} == {point["scope"] for point in sweep.designed}
