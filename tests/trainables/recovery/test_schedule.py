"""Budgets and learning rates by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from trainables.recovery.schedule import learning_rate_at, total_steps
from trainables.specs import Budget, RecoverySpec

SUBSET = np.arange(50)


def _steps(**budget: float) -> int:
    spec = RecoverySpec(scope="projector", batch_size=8, budget=Budget.model_validate(budget))
    return total_steps(spec, SUBSET, 0, length=lambda _: 10, flops=lambda _: 2e12)


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ({"steps": 7}, 7),
        ({"epochs": 1}, 7),  # 50 / 8, rounded up
        ({"epochs": 0.01}, 1),
        ({"tokens": 80}, 1),
        ({"tokens": 81}, 2),
        ({"tflops": 33}, 3),  # 16 TFLOPs a step
    ],
)
def test_steps_of_a_budget(budget: dict[str, float], steps: int) -> None:
    assert _steps(**budget) == steps


def test_exactly_one_budget() -> None:
    for wrong in ({}, {"steps": 1, "epochs": 1}):
        with pytest.raises(ValueError, match="exactly one"):
            Budget.model_validate(wrong)


def test_warm_up_then_cosine() -> None:
    spec = RecoverySpec(scope="joint", learning_rate=1.0, warmup_fraction=0.2)
    rates = [learning_rate_at(step, 10, spec) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert all(a > b for a, b in pairwise(rates[2:]))
    assert rates[-1] > 0
