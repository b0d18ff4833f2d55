"""Length of the recovery in steps, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from trainables.recovery.train.order import take_batches
from trainables.specs import RecoverySpec


def batches_of(
    spec: RecoverySpec, subset: np.ndarray, seed: int, length: Callable[[int], int], start: int = 0
) -> Iterator[list[int]]:
    """The recovery's endless global batches, from number `start` on."""
    return take_batches(subset, seed, spec.batch_size, length, spec.length_groups, start)


def total_steps(
    spec: RecoverySpec,
    samples: int,
    batches: Iterator[list[int]],
    length: Callable[[int], int],
    flops: Callable[[int], float],
) -> int:
    """Optimizer steps that the budget buys, at least 1.

    Args:
        spec: recovery with its budget.
        samples: how many there are to train on.
        batches: the global batches from the first one on; read for token and FLOP budgets only.
        length: tokens of a sample.
        flops: nominal FLOPs of a sample.

    Returns:
        Steps; token and FLOP budgets are rounded up to the step that reaches them.
    """
    budget = spec.budget
    if budget.steps is not None:
        return budget.steps
    if budget.epochs is not None:
        return max(1, math.ceil(budget.epochs * samples / spec.batch_size))
    goal = budget.tokens if budget.tokens is not None else (budget.tflops or 0.0) * 1e12
    cost = length if budget.tokens is not None else flops
    spent = 0.0
    for step, indices in enumerate(batches, start=1):
        spent += sum(cost(i) for i in indices)
        if spent >= goal:
            return step
    raise AssertionError("the batches are endless")


def learning_rate_at(step: int, steps: int, spec: RecoverySpec) -> float:
    """Rate of a 0-based step: linear warm-up, then a cosine to zero at `steps`."""
    peak = spec.resolved_learning_rate
    assert peak is not None
    warmup = math.ceil(spec.warmup_fraction * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
