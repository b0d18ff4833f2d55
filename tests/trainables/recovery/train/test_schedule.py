"""Budgets and learning rates by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from trainables.recovery.train.schedule import (
    learning_rate_at,
    take_batches,
    total_steps,
    warmup_steps,
)
from trainables.specs import DEFAULT_LEARNING_RATE, Budget, RecoverySpec, Scope

SUBSET = np.arange(50)


def _steps(**budget: float) -> int:
    spec = RecoverySpec(scope="projector", batch_size=8, budget=Budget.model_validate(budget))

    def length(_: int) -> int:
        return 10

    batches = take_batches(SUBSET, 0, spec.batch_size, length, spec.length_groups)
    return total_steps(spec, len(SUBSET), batches, length, flops=lambda _: 2e12)


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


def test_a_token_budget_counts_the_batches_that_will_be_trained() -> None:
    lengths = {i: 1 + i for i in range(50)}
    budget = Budget(tokens=200)
    spec = RecoverySpec(scope="projector", batch_size=8, length_groups=4, budget=budget)
    batches = take_batches(SUBSET, 3, 8, lengths.__getitem__, 4)
    steps = total_steps(spec, 50, batches, lengths.__getitem__, flops=lambda _: 0.0)
    first = take_batches(SUBSET, 3, 8, lengths.__getitem__, 4)
    tokens = [sum(lengths[i] for i in next(first)) for _ in range(steps)]
    assert sum(tokens) >= 200 > sum(tokens[:-1])


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


def test_few_steps_are_warmed_up_too() -> None:
    found = {steps: warmup_steps(steps, 0.03) for steps in (1, 3, 4, 13, 20, 100, 134, 520)}
    assert found == {1: 1, 3: 1, 4: 1, 13: 3, 20: 5, 100: 5, 134: 5, 520: 16}
    assert warmup_steps(13, 0.0) == 0
    spec = RecoverySpec(scope="projector", learning_rate=3.0)
    assert [learning_rate_at(step, 13, spec) for step in range(4)] == [1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("scope", "shares"),
    [
        ("projector", {1: 0.1, 10: 0.1, 20: 0.2, 100: 1.0, 300: 1.0}),
        ("joint", {1: 5.0, 100: 5.0, 250: 2.0, 500: 1.0, 5000: 1.0}),
        ("full", {1: 1.0, 5000: 1.0}),
    ],
)
def test_the_default_rate_of_few_steps(scope: Scope, shares: dict[int, float]) -> None:
    spec = RecoverySpec(scope=scope, learning_rate_scale=2.0)
    settled = 2 * DEFAULT_LEARNING_RATE[scope]
    peaks = {n: max(learning_rate_at(step, n, spec) for step in range(n)) for n in shares}
    assert peaks == {n: pytest.approx(share * settled) for n, share in shares.items()}
    given = RecoverySpec(scope=scope, learning_rate=settled)
    assert max(learning_rate_at(step, 10, given) for step in range(10)) == settled
    assert spec.canonical() == given.canonical(), "trials of old sweeps keep their keys"
