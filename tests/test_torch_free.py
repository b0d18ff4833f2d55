"""What the driver imports is light: a module below that pulls torch in would slow every command."""

from __future__ import annotations

import subprocess
import sys

import pytest

TORCH_FREE = (
    "trainables.specs",
    "trainables.records",
    "trainables.trial.jobs",
    "trainables.models.families.registry",
    "trainables.pruning.planning.planner",
    "trainables.evaluation.catalog",
    "trainables.evaluation.own.preparing",
    "trainables.models.work",
    "search_spaces.spaces",
    "analysis.frontier",
    "analysis.output.frontier_files",
    "analysis.output.effect_files",
    "trainables.trial.diagnose",
    "sweeps.engine.cli",
    "sweeps.engine.run.runner",
    "sweeps.engine.plan.planning",
    "sweeps.engine.show.overview",
)


@pytest.mark.parametrize("module", TORCH_FREE)
def test_the_driver_side_imports_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'transformers', 'deepspeed', 'lmms_eval', 'ray', 'mlflow', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
