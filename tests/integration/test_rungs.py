"""Early stopping through real Ray: a trial that falls behind at its rung is ended there."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.small_sweeps import Prunesweep

from trainables.common.files import read_json
from trainables.records import CHECKPOINT, TrialRecord

pytestmark = [pytest.mark.integration, pytest.mark.slow]
CELL = {"method": "widthwise", "ratio": 0.3}
# At a rate of nearly 0 all keep the same score, and each costs more than the one before it.
DESIGNED = (
    {**CELL, "scope": "projector", "terms": "ce"},
    {**CELL, "scope": "joint", "terms": "ce"},
    {**CELL, "scope": "joint", "terms": "l2"},
)
RUNGS = "rungs=RungSpec(fractions=(0.5,), min_trials=2), resources=Resources(slots=1),"


def test_a_dominated_trial_is_stopped_at_its_rung(
    prunesweep: Prunesweep, sweep_file: Callable[..., Path], storage: Path
) -> None:
    file = sweep_file("rungs", steps=8, every=2, rate=1e-12, designed=DESIGNED, more=RUNGS)
    prunesweep("run", file)
    folder = storage / "rungs"
    trials = sorted(p for p in (folder / "trials").iterdir() if p.name != "dense")
    records = [read_json(p / "record.json", TrialRecord) for p in trials]
    assert [r.status for r in records] == ["completed", "early_stopped", "early_stopped"]
    assert [r.recovery.steps for r in records if r.recovery] == [8, 4, 4]
    assert all(r.evaluation and r.evaluation.retention is not None for r in records)
    assert not list(folder.glob(f"trials/*/{CHECKPOINT}"))
    pids = {json.loads((p / "attempt.json").read_text())["pid"] for p in trials}
    assert len(pids) == 1, "the slot did not survive the stops"
    with (folder / "frontier.csv").open() as rows:
        on_frontier = {row["trial_id"] for row in csv.DictReader(rows)}
    assert on_frontier.isdisjoint(p.name for p in trials[1:])
    assert "0 jobs in this run" in prunesweep("run", file).stdout
