"""The surrogate against a table whose truth is known: the analytic objective's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from helpers.simulations import analytic_table

from sweeps.engine.simulate.features import leaves
from sweeps.engine.simulate.objective import Analytic
from sweeps.engine.simulate.table import Table
from sweeps.engine.spec.loading import load_sweep

CELLS = ["strata.method=[layerwise]", "strata.ratio=[0.15,0.3]"]


@pytest.fixture(scope="module")
def table() -> Table:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lengths of factors without effect end at their bound
        return Table(analytic_table(), {})


def test_between_its_entries_the_surrogate_is_near_the_truth(table: Table) -> None:
    sweep = load_sweep("search_table", CELLS)
    rng = np.random.default_rng(1)
    found = [leaf for cell in sweep.cells for leaf in leaves(sweep, cell) if leaf.free]
    rows = np.array([leaf.row for leaf in found])
    for row, leaf in zip(rows, found, strict=True):
        row[list(leaf.free)] = rng.uniform(-1.5, 1.5, len(leaf.free))
    truth, guess = Analytic().curves(rows), table.curves(rows)
    off = guess.retention[:, -1] - truth.retention[:, -1]
    assert np.sqrt(np.mean(off**2)) < 0.35 * truth.retention[:, -1].std()
    assert np.median(np.abs(guess.tflops / truth.tflops - 1)) < 0.05
    assert np.median(np.abs(guess.seconds / truth.seconds - 1)) < 0.05


def test_without_recovery_the_entry_counts(table: Table) -> None:
    sweep = load_sweep("search_table", CELLS)
    bare = [leaf.row for cell in sweep.cells for leaf in leaves(sweep, cell) if not leaf.free]
    truth, guess = Analytic().curves(np.array(bare)), table.curves(np.array(bare))
    assert guess.retention == pytest.approx(truth.retention, abs=4 * 1.5 * Analytic.NOISE)
    assert (guess.tflops == 0).all()
    assert table.weights_mib(bare[0], 0.0) == pytest.approx(8.5)


def test_the_noise_is_that_of_the_pairs(table: Table) -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([table.noise(table.rows[0], rng) for _ in range(2000)])
    assert drawn[:, -1].std() == pytest.approx(Analytic.NOISE, rel=0.35)
    assert drawn[:, 0].std() == pytest.approx(2**0.5 * Analytic.NOISE, rel=0.35)


def test_the_same_kernels_give_the_same_answers(table: Table) -> None:
    again = Table(analytic_table(), table.kernels)
    assert again.curves(table.rows).retention == pytest.approx(table.curves(table.rows).retention)


@pytest.mark.parametrize(
    ("sweep", "overrides", "words"),
    [
        ("loss_coefficients", (), "take --objective analytic"),
        ("quickstart", (), "ratio=0.45 lies beyond"),
        ("quickstart", ("strata.ratio=[0.15]",), "method=widthwise lies beyond"),
        ("quickstart", (*CELLS, "choices.data_fraction=[0.5]"), "data_fraction=0.5 lies beyond"),
        ("quickstart", (*CELLS, "choices.lora_rank=[128]"), "lora_rank=128 lies beyond"),
        (
            "quickstart",
            (*CELLS, "ranges.log2_logits=[-4,12]"),
            r"log2_logits=\[-4.0, 12.0\] lies beyond",
        ),
        (
            "quickstart",
            (*CELLS, "ranges.lr_scale=[0.1,4]"),
            r"lr_scale=\[0.1, 4.0\] lies.* --set ranges.lr_scale",
        ),
    ],
)
def test_what_the_table_cannot_answer(
    table: Table, sweep: str, overrides: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        table.check(load_sweep(sweep, overrides))


def test_what_it_can_answer(table: Table) -> None:
    table.check(load_sweep("quickstart", CELLS))
    table.check(load_sweep("quickstart", (*CELLS, "ranges.log2_logits=[-1,3]")))
