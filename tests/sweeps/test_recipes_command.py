"""`prunesweep recommend --recipe` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import invoke, refused
from helpers.ledgers import old_quickstart
from helpers.terminal import in_terminal

from sweeps.engine.spec.loading import load_sweep
from trainables.common.files import write_json
from trainables.records import SWEEP

ASKED = ("recommend", "quickstart", "--recipe")


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    old_quickstart(tmp_path / "runs")
    return tmp_path / "runs"


def test_text_json_and_picture_say_the_same(storage: Path) -> None:
    said = invoke(*ASKED, "--storage", storage).stdout
    found = json.loads(invoke(*ASKED, "--storage", storage, "--json").stdout)
    assert found == json.loads((storage / "quickstart" / "recipes.json").read_text())
    sizes = {place["size"] for place in found["places"]}
    assert sizes == {"0.15", "0.30", "0.45", "0.60"}
    for place in found["places"]:
        for recipe in place["recipes"][:1]:
            name = f"{recipe['method']} {recipe['scope']} {recipe['terms']}".strip()
            assert name.replace("none", "no recovery") in said
    assert Path(said.split()[-1]).stat().st_size > 10_000


def test_a_terminal_of_80_columns_holds_it(storage: Path) -> None:
    lines = in_terminal(80, storage.parent, *ASKED)
    assert max(map(len, lines)) <= 80
    (header,) = (line for line in lines if "recipe" in line and "size" in line)
    assert "behind" in header


def test_limits_leave_recipes_out(storage: Path) -> None:
    every = json.loads(invoke(*ASKED, "--storage", storage, "--json").stdout)
    small = json.loads(
        invoke(*ASKED, "--storage", storage, "--json", "--max", "weights_mib=5").stdout
    )
    named = [
        {p["size"] for p in found["places"] if p["recipes"]} for found in (every, small)
    ]  # fmt: skip
    assert named == [{"0.15", "0.30", "0.45", "0.60"}, {"0.45", "0.60"}]
    nothing = invoke(*ASKED, "--storage", storage, "--max", "weights_mib=1", code=1)
    assert "keeps every limit" in nothing.stdout
    assert "unknown axis" in refused(*ASKED, "--storage", storage, "--max", "weight=1")


def test_a_sweep_without_trials_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    folder.mkdir()
    write_json(folder / SWEEP, load_sweep("quickstart"))
    said = invoke(*ASKED, "--storage", tmp_path, code=1).stdout
    assert said == "No trial has ended yet, so there is no recipe to recommend.\n"
    assert not (folder / "recipes.png").exists()
