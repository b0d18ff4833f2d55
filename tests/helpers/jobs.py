"""Small trials of the embedded model, the jobs that ask for them, and how far these are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainables.common.attempts import ATTEMPT, claim
from trainables.records import CURVES
from trainables.specs import (
    Budget,
    DataSpec,
    ImportanceSpec,
    PruningSpec,
    RecoverySpec,
    TrialSpec,
)
from trainables.trial.jobs import TrialJob


def make_spec(
    conversations: Path | None = None, recovery: RecoverySpec | None = None, **settings: Any
) -> TrialSpec:
    """A trial that prunes the embedded model by a third, from four calibration samples.

    Args:
        conversations: file of its data; None takes the embedded model's own.
        recovery: none unless it is given.
        settings: fields of `TrialSpec`.
    """
    given: dict[str, Any] = {
        "data": DataSpec(conversations=str(conversations) if conversations else None),
        "pruning": PruningSpec(ratio=0.3, importance=ImportanceSpec(samples=4)),
        "recovery": recovery or RecoverySpec(scope="none"),
    }
    return TrialSpec(**{**given, **settings})


def few_steps(steps: int = 3, **settings: Any) -> RecoverySpec:
    """A recovery on all of the data, eight samples a step; `settings` are its other fields."""
    given: dict[str, Any] = {"budget": Budget(steps=steps), "data_fraction": 1.0}
    return RecoverySpec(**{**given, "batch_size": 8, "micro_batch_size": 8, **settings})


def make_job(folder: Path, spec: TrialSpec | None = None, **settings: Any) -> TrialJob:
    """A job in `folder`, which names the trial; its store is `store` beside it."""
    given: dict[str, Any] = {"trial_id": folder.name, "sweep": "s", "origin": "designed"}
    given |= {"store": folder.parent / "store", "attempt": "a", **settings}
    return TrialJob(spec=spec or TrialSpec(), folder=folder, **given)


def start_job(folder: Path, spec: TrialSpec, **settings: Any) -> TrialJob:
    """`make_job` in a folder that is there and claimed by its attempt."""
    job = make_job(folder, spec, **settings)
    folder.mkdir(exist_ok=True)
    claim(folder, job.attempt)
    return job


def steps_of(folder: Path) -> list[int]:
    """The steps of a trial's recovery that its folder knows, in the order of its curves."""
    path = folder / CURVES
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["step"] for line in lines]


def owner_of(folder: Path) -> dict[str, Any]:
    """What the newest claim of a trial's folder says; empty before the first."""
    path = folder / ATTEMPT
    return json.loads(path.read_text()) if path.exists() else {}
