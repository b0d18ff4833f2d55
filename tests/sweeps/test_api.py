"""The public Python API, over a finished sweep."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from helpers.ledgers import UNTRAINED, old_quickstart
from helpers.trials import make_dense, make_trial, write_sweep
from transformers import AutoModelForImageTextToText

from analysis.output.frontier_files import write_frontier
from sweeps import export, load, recommend
from sweeps.engine.spec.ledger import Ledger


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder with a finished quickstart."""
    folder = tmp_path_factory.mktemp("api")
    old_quickstart(folder)
    return folder


def test_load_has_every_trial_and_the_frontiers_numbers(storage: Path) -> None:
    table = load("quickstart", storage)
    records = Ledger(storage, "quickstart").records(every_base=True)
    assert list(table.index) == sorted(records)
    assert table.loc["dense", "origin"] == "reference"
    assert table.loc["dense", "retention"] == 1.0
    files = write_frontier(storage / "quickstart")
    with open(files.csv, encoding="utf-8") as file:
        rows = {row["trial_id"]: row for row in csv.DictReader(file)}
    assert set(table.index[table["frontier"]]) == set(rows)
    for name, row in rows.items():
        for column in ("retention_corrected", "weights_mib", "tflops", "latency_ms"):
            assert table.loc[name, column] == pytest.approx(float(row[column]))
        assert table.loc[name, "standing"] == row["standing"]


def test_load_keeps_the_scores_of_what_guesses(tmp_path: Path) -> None:
    guess = make_trial("guess", 0.1, weights_mib=1.0, sweep="some")
    write_sweep(tmp_path, [make_dense(sweep="some"), guess], "some")
    table = load("some", tmp_path)
    assert table.loc["guess", "retention"] == pytest.approx(0.1)
    assert not table.loc["guess", "frontier"]


def test_recommend_is_the_best_that_fits(storage: Path) -> None:
    found = recommend("quickstart", max={"weights_mib": 5}, storage=storage).trial
    table = load("quickstart", storage)
    fits = table[(table["weights_mib"] <= 5) & table["retention_corrected"].notna()]
    assert found is not None
    assert found.trial_id == fits["retention_corrected"].idxmax()
    with pytest.raises(ValueError, match="weights_mib"):
        recommend("quickstart", max={"weight_mib": 5}, storage=storage)


def test_export_loads_with_plain_transformers(storage: Path, tmp_path: Path) -> None:
    folder = export(f"quickstart/{UNTRAINED}", tmp_path / "student", storage=storage)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    record = Ledger(storage, "quickstart").record(UNTRAINED)
    assert record is not None
    assert record.efficiency is not None
    assert sum(p.numel() for p in model.parameters()) == record.efficiency.params
    with pytest.raises(ValueError, match="student"):
        export(f"quickstart/{UNTRAINED}", folder, storage=storage)


def test_unknown_names_are_refused(storage: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'quickstart'"):
        load("quickstar", storage)
