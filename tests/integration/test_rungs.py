"""Early stopping through real Ray: a trial that falls behind at its rung is ended there."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trainables.jobs import CHECKPOINT
from trainables.records import TrialRecord, read_json

from .conftest import Prunesweep

pytestmark = [pytest.mark.integration, pytest.mark.slow]
CELL = {"method": "widthwise", "ratio": 0.3, "scope": "joint"}
# The second one costs more (it needs the teacher) and, at a sixteenth of the rate, learns less.
DESIGNED = (
    {**CELL, "terms": "ce", "lr_scale": 4.0},
    {**CELL, "terms": "l2", "lr_scale": 0.25},
    {**CELL, "scope": "projector"},
)
RUNGS = "rungs=RungSpec(fractions=(0.5,), min_trials=2), resources=Resources(slots=1),"


def test_a_dominated_trial_is_stopped_at_its_rung(
    prunesweep: Prunesweep, sweep_file: Callable[..., Path], storage: Path
) -> None:
    prunesweep("run", sweep_file("rungs", steps=8, every=2, designed=DESIGNED, more=RUNGS))
    folder = storage / "rungs"
    good, behind, after = sorted(p for p in (folder / "trials").iterdir() if p.name != "dense")
    records = [read_json(p / "record.json", TrialRecord) for p in (good, behind, after)]
    assert [r.status for r in records][:2] == ["completed", "early_stopped"]
    steps = [r.recovery.steps for r in records if r.recovery]
    assert steps[:2] == [8, 4]
    evaluation = records[1].evaluation
    assert evaluation is not None
    assert evaluation.retention is not None
    assert not (behind / CHECKPOINT).exists()
    pids = {json.loads((p / "attempt.json").read_text())["pid"] for p in (good, behind, after)}
    assert len(pids) == 1, "the slot did not survive the stop"
    with (folder / "frontier.csv").open() as file:
        assert behind.name not in {row["trial_id"] for row in csv.DictReader(file)}
    again = prunesweep("run", sweep_file("rungs", steps=8, every=2, designed=DESIGNED, more=RUNGS))
    assert "0 jobs in this run" in again.stdout
