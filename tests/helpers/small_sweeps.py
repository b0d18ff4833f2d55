"""Small sweeps of the embedded model, and the surroundings in which they are started."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SWEEP = """
from sweeps.engine.spec import *
from trainables.specs import *

sweep = SweepSpec(
    name="{name}",
    question="do the parts fit together?",
    trial=TrialSpec(
        pruning=PruningSpec(importance=ImportanceSpec(samples=8)),
        recovery=RecoverySpec(
            budget=Budget(steps={steps}), data_fraction=0.02, batch_size=8, micro_batch_size=8,
            checkpoint_every_steps={every}, learning_rate={rate},
        ),
        evaluation=EvaluationSpec(search_limit=20, report_limit=20, batch_size=20),
        efficiency=EfficiencySpec(latency_repeats=3),
        workers={workers},
    ),
    space="frontier",
    strata={{"method": ("layerwise", "widthwise"), "ratio": (0.3,)}},
    designed={designed},
    priors=False,
    samples={samples},
    report_candidates=2,
    resources=Resources(slots={slots}),
    {more}
)
"""
DESIGNED = (
    {"method": "layerwise", "ratio": 0.3, "scope": "joint", "terms": "ce+reverse_kl+l2"},
    {"method": "widthwise", "ratio": 0.3, "scope": "projector"},
)

Prunesweep = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]


def environment() -> dict[str, str]:
    """This process's environment, without what would slow workers down or point elsewhere."""
    dropped = {"PYTHONDONTWRITEBYTECODE", "RAY_ADDRESS", "MLFLOW_TRACKING_URI"}
    kept = {k: v for k, v in os.environ.items() if k not in dropped}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def write_sweep(path: Path, **changes: Any) -> Path:
    """Write a sweep of two trials named like its file; `changes` replace values of `SWEEP`.

    One trial runs at a time: a second process would mostly import, on cores that are busy.
    """
    values = {"steps": 3, "every": None, "designed": DESIGNED, "samples": 0, "workers": 1}
    values |= {"rate": None, "slots": 1, "more": "", "name": path.stem}
    path.write_text(SWEEP.format(**{**values, **changes}), encoding="utf-8")
    return path


def wait(until: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Return once `until()` is true; a process that ends before is an error."""
    deadline = time.monotonic() + 400
    while not until():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.2)
