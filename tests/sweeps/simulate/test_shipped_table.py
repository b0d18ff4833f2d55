"""The table of truth that comes with the package: whole, and what `simulate` answers from."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.command_line import invoke

from sweeps.engine.simulate.features import AT
from sweeps.engine.simulate.table import META, PARQUET, Table


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.shipped()


def test_it_holds_what_its_sweep_asks_for(table: Table) -> None:
    sweep = table.sweep
    assert len(table.rows) == sweep.samples + len(sweep.designed) * sweep.replicates >= 600
    cells = {(row[AT["widthwise"]], row[AT["ratio"]]) for row in table.rows}
    assert len(cells) == 8
    assert sum(len(pairs) for pairs in table.pairs.values()) >= len(table.rows) / 10
    assert len({row[AT["joint"]] for row in table.rows[table.trained]}) == 2


def test_rungs_come_before_the_end() -> None:
    columns = pq.read_table(PARQUET).to_pydict()
    trained = np.array([scope != "none" for scope in columns["scope"]])
    for name in ("recovery_tflops", "device_seconds"):
        first, second, last = (
            np.array(columns[f"{name}_{r}"])[trained] for r in ("1_9", "1_3", "1")
        )
        assert (first < second).all()
        assert (second < last).all()
    ends = np.array(columns["retention_1"])
    assert ((ends > 0) & (ends < 1.1)).all()


def test_the_surrogate_is_what_its_card_says(table: Table) -> None:
    """Read back, it answers as it did when its error was stated; no fit is made."""
    about = json.loads(pq.read_schema(PARQUET).metadata[META])
    assert about["trials"] == len(table.rows)
    assert table.kernels == about["kernels"]
    card = PARQUET.with_name("SEARCH_TABLE.md").read_text(encoding="utf-8")
    for cell in about["cells"]:
        assert f"| {cell['method']} | {cell['ratio']:.2f} | {cell['trials']} |" in card


def test_simulate_answers_from_it() -> None:
    found = json.loads(invoke("simulate", "quickstart", "--set", "samples=16", "--json").stdout)
    assert found["objective"] == "table"
    shares = [moment["share"] for moment in found["moments"]]
    assert shares == sorted(shares)
    assert 0 < shares[-1] <= 1
