"""The sizes that a plan prints are those that its trials then measure, and limits test."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.command_line import invoke
from helpers.ledgers import LEDGER_V1

from analysis.load import load_trials
from sweeps.engine.plan.planning import plan_sweep
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import load_sweep
from trainables.models.families.registry import language_shape


def test_a_plan_says_what_finished_trials_measured(tmp_path: Path) -> None:
    plan = plan_sweep(load_sweep("quickstart"), Ledger(tmp_path, "quickstart"))
    rows = {(row.method, row.amount): row for row in plan.sizes}
    met = set()
    for trial in load_trials(LEDGER_V1):
        found, pruning = trial.record.efficiency, trial.record.spec.pruning
        assert found is not None
        if not pruning.prunes:
            continue
        row = rows[pruning.method, pruning.amount]
        measured = (found.params, found.weights_mib, found.lm_params, found.tflops)
        assert (row.params, row.weights_mib, row.lm_params, row.tflops) == measured
        assert row.weights_mib == trial.axes["weights_mib"]
        met.add((pruning.method, pruning.amount))
    assert met == set(rows)
    assert plan.unpruned.params == found.params - found.lm_params > 0


def test_a_size_is_asked_of_the_whole_model(tmp_path: Path) -> None:
    """A 7B model and 9 GiB: 30 % leave 9,612 MiB, of which the language model is 8,993."""
    asked = ("plan", "llava_7b_frontier", "--storage", tmp_path)
    table = invoke(*asked).stdout
    assert "layerwise 0.30 0.3003 22 32 11008 5,040 M 9,612.3" in " ".join(table.split())
    assert "of which vision tower and projector are 618.9 MiB" in table
    size = ("--set", "trial.pruning.size.weights_mib=9216", "--json")
    rows = json.loads(invoke(*asked, *size).stdout)["sizes"]
    assert [(row["method"], row["amount"]) for row in rows] == [
        ("layerwise", "9216mib"),
        ("widthwise", "9216mib"),
    ]
    layer, neuron = 4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096, 32 * 3 * 4096
    for row, unit in zip(rows, (layer, neuron), strict=True):
        assert 9216 - 2 * unit / 2**20 < row["weights_mib"] <= 9216


def test_sizes_are_those_of_the_trials_that_are_asked_for(tmp_path: Path) -> None:
    """No trial of a cell removes heads where every one of them names neurons alone."""
    sweep = load_sweep("quickstart")
    points = tuple(
        {"method": "widthwise", "ratio": ratio, "scope": "none", "pruning.units": "neurons"}
        for ratio in (0.15, 0.3)
    )
    update = {
        **{"designed": points, "choices": {"pruning.units": ("all", "neurons")}, "priors": False},
        **{"strata": {"method": ("widthwise",), "ratio": (0.15, 0.3)}, "name": "neurons"},
    }
    for samples, expected in ((0, {"whole"}), (1, {"whole", "fewer"})):
        asked = sweep.model_copy(update={**update, "samples": samples})
        plan = plan_sweep(asked, Ledger(tmp_path, "neurons"))
        whole = language_shape(sweep.trial.model).num_key_value_heads
        found = {(row.amount, "whole" if row.kv_groups == whole else "fewer") for row in plan.sizes}
        assert found == {(amount, kind) for amount in ("0.15", "0.30") for kind in expected}
