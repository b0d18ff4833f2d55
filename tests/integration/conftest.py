"""Real sweeps of the embedded model, started as a user would start them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
    {more}
)
"""
DESIGNED = (
    {"method": "layerwise", "ratio": 0.3, "scope": "joint", "terms": "ce+reverse_kl+l2"},
    {"method": "widthwise", "ratio": 0.3, "scope": "projector"},
)

Prunesweep = Callable[..., subprocess.CompletedProcess[str]]


def environment() -> dict[str, str]:
    """This process's environment, without what would slow workers down or point elsewhere."""
    dropped = {"PYTHONDONTWRITEBYTECODE", "RAY_ADDRESS", "MLFLOW_TRACKING_URI"}
    kept = {k: v for k, v in os.environ.items() if k not in dropped}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One storage folder for all integration tests: they share the generated data."""
    return tmp_path_factory.mktemp("storage") / "runs"


@pytest.fixture(scope="session")
def sweep_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a small sweep file and returns its path."""
    folder = tmp_path_factory.mktemp("sweeps")

    def write(name: str, **changes: Any) -> Path:
        values = {"steps": 3, "every": None, "designed": DESIGNED, "samples": 0, "workers": 1}
        values |= {"rate": None, "more": ""}
        path = folder / f"{name}.py"
        path.write_text(SWEEP.format(name=name, **{**values, **changes}), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def prunesweep(storage: Path) -> Prunesweep:
    """A function that runs the command line to its end; returns the finished process."""

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sweeps.engine.cli", *map(str, arguments)]
        command += ["--storage", str(storage)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment(), timeout=540, check=False
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done

    return run
