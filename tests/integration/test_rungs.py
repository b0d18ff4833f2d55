"""Early stopping through real Ray: a sampled trial that falls behind at its rung is ended there."""

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
# At this rate a recovery trains the model to pieces, so that it is behind the one that costs
# nothing. How pieces end is learned from the designed points, which are never stopped.
RATE = 0.1
DESIGNED = (
    {**CELL, "scope": "none"},
    {**CELL, "scope": "none", "method": "layerwise"},
    {**CELL, "scope": "projector", "terms": "ce"},
    {**CELL, "scope": "projector", "terms": "l2"},
    {**CELL, "scope": "joint", "terms": "ce"},
)
MORE = "rungs=RungSpec(fractions=(0.5,), min_trials=3, margin=1.0),"


@pytest.fixture(scope="module")
def stopped(
    prunesweep: Prunesweep, sweep_file: Callable[..., Path], storage: Path
) -> tuple[Path, Path]:
    """A sweep's file, and its folder after its run."""
    settings = {"steps": 8, "every": 2, "rate": RATE, "designed": DESIGNED, "samples": 4}
    file = sweep_file("rungs", more=MORE, **settings)
    prunesweep("run", file)
    return file, storage / "rungs"


def test_a_trial_that_falls_behind_is_stopped_at_its_rung(
    prunesweep: Prunesweep, stopped: tuple[Path, Path]
) -> None:
    file, folder = stopped
    trials = sorted(p for p in (folder / "trials").iterdir() if p.name != "dense")
    records = {p.name: read_json(p / "record.json", TrialRecord) for p in trials}
    assert {r.status for r in records.values() if r.origin == "designed"} == {"completed"}
    early = {name: r for name, r in records.items() if r.status == "early_stopped"}
    assert early, {name: (r.status, r.rungs) for name, r in records.items()}
    for record in early.values():
        assert record.recovery is not None
        assert record.recovery.steps == 4
        assert record.recovery.final_tflops == pytest.approx(2 * record.recovery.tflops)
        assert record.evaluation is not None
        assert [rung.retention for rung in record.rungs] == [record.evaluation.retention]
    assert not list(folder.glob(f"trials/*/{CHECKPOINT}"))
    kept = [p for p in trials if p.name not in early]  # the driver has claimed the others
    pids = {json.loads((p / "attempt.json").read_text())["pid"] for p in kept}
    assert len(pids) == 1, "the slot did not survive the stops"
    with (folder / "frontier.csv").open() as rows:
        on_frontier = {row["trial_id"] for row in csv.DictReader(rows)}
    assert on_frontier.isdisjoint(early)
    assert "0 jobs in this run" in prunesweep("run", file).stdout


def test_a_group_of_two_workers_is_stopped_and_the_next_trial_starts(
    prunesweep: Prunesweep, stopped: tuple[Path, Path]
) -> None:
    """The same sweep goes on with two workers a trial, and judges by what it knew before."""
    file, folder = stopped
    before = {p.parent.name for p in folder.glob("trials/*/record.json")}
    more = ("--set", "trial.workers=2", "--set", "samples=7", "--set", "report_candidates=1")
    prunesweep("run", file, *more)
    records = {
        p.parent.name: read_json(p, TrialRecord)
        for p in folder.glob("trials/*/record.json")
        if p.parent.name not in before
    }
    assert len(records) == 3
    assert "failed" not in {r.status for r in records.values()}
    assert any(r.status == "early_stopped" for r in records.values())
    for record in records.values():
        assert record.cost is not None
        assert record.cost.devices == 2
        assert len(record.rungs) == 1
    assert not [*folder.glob("trials/*/rung_*.json"), *folder.glob("trials/*/train")]
