"""A sweep of a user's own in real trials: his space and its neighbour, from Python and as YAML."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.small_sweeps import Prunesweep, environment

from trainables.common.files import read_json
from trainables.records import TrialRecord

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SPACE = """
from linears import LINEARS


def space(trial, cell, base):
    where = trial.suggest_categorical("where", tuple(LINEARS))
    return {
        "pruning.ratio": 0.3, "recovery.scope": "joint", "recovery.lora_targets": LINEARS[where],
        "recovery.weight_decay": trial.suggest_float("decay", 0.0, 0.2),
    }
"""
SWEEP = """
name: own
question: do the user's own parts fit together?
space: space.py:space
trial:
  pruning: {importance: {samples: 8}}
  recovery: {budget: {steps: 2}, data_fraction: 0.02, batch_size: 8, micro_batch_size: 8}
  evaluation: {tasks: [tiny_counting], search_limit: 20, report_limit: 20, batch_size: 20}
  efficiency: {latency_repeats: 3}
strata: {where: [few, all]}
choices: {recovery.warmup_fraction: [0.03, 0.1]}
resources: {slots: 1, memory_gib_per_slot: measured}
designed: [{where: all, decay: 0.1}]
samples: 1
report_candidates: 1
"""
SCRIPT = """
import sys
from sweeps import export, load, recommend, run
outcome = run("own.yaml", sys.argv[1], quiet=True)
assert outcome.whole, outcome
table = load("own", sys.argv[1])
own = table[table["origin"] != "reference"]
assert set(own["factor/where"]) == {"few", "all"}, own
assert len(set(own["lm_params"])) == 1
best = recommend("own", storage=sys.argv[1]).trial
export(f"own/{best.trial_id}", "student", storage=sys.argv[1])
print(run("own.yaml", sys.argv[1], quiet=True).started, outcome.started)
"""


def test_an_own_space_as_yaml_from_python(
    storage: Path, prunesweep: Prunesweep, tmp_path: Path
) -> None:
    (tmp_path / "linears.py").write_text(
        "LINEARS = {'few': ('q_proj',), 'all': ('q_proj', 'v_proj')}\n"
    )
    (tmp_path / "space.py").write_text(SPACE)
    (tmp_path / "own.yaml").write_text(SWEEP)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(storage)], capture_output=True, text=True, timeout=540,
        cwd=tmp_path, env=environment() | {"PYTHONPATH": str(root)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    again, first = map(int, done.stdout.split()[-2:])
    assert (again, first > 3) == (0, True)
    assert (tmp_path / "student" / "config.json").exists()
    records = [read_json(p, TrialRecord) for p in (storage / "own").glob("trials/*/record.json")]
    assert all(r.cost and (r.cost.peak_host_memory_mib or 0) > 300 for r in records)
    shown = prunesweep("status", "own").stdout
    assert "where=few" in shown
    assert "where=all" in shown
