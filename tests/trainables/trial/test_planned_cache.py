"""A teacher's cache is as large on disk as the plan says beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.engine.plan.caches import plan_caches
from trainables.common.clock import Clock
from trainables.common.store import Store
from trainables.specs import Budget, LossSpec, RecoverySpec, TeacherSpec, TrialSpec
from trainables.trial.inputs import load_inputs
from trainables.trial.jobs import Caches
from trainables.trial.plan import make_plan
from trainables.trial.teacher import trial_teacher

USED = 100  # of 21,000 conversations


@pytest.mark.parametrize(
    "loss", [LossSpec(gamma=1.0), LossSpec(beta=1.0), LossSpec(gamma=1.0, hidden_tokens="text")]
)
def test_bytes_on_disk(loss: LossSpec, tmp_path: Path) -> None:
    recovery = RecoverySpec(
        scope="joint",
        loss=loss,
        data_fraction=USED / 21_000,
        budget=Budget(epochs=1),
        teacher=TeacherSpec(mode="cached"),
    )
    spec = TrialSpec(recovery=recovery)
    inputs = load_inputs(spec, Store(tmp_path / "store"))
    plan = make_plan(inputs, None)
    trial_teacher(inputs, plan, Caches(), Clock())
    shards = (tmp_path / "store" / "teacher").glob("*/*.safetensors")
    (row,) = plan_caches([spec], inputs.dense.shape, 21_000, tmp_path / "elsewhere").teachers
    held = sum(path.stat().st_size for path in shards)
    assert row.choice.size_bytes == pytest.approx(held, rel=0.02)
