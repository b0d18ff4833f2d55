"""Order of the training samples, length in steps, and the learning rate of each step."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from trainables.specs import RecoverySpec

Lengths = Callable[[int], int]  # tokens of a sample, by its index

# Adam's first steps move every weight by the whole rate, whatever the gradient, so that a share of
# few steps, rounded to one, is no warm-up. From 134 steps on 3 % of them are as many.
LEAST_WARMUP = 5  # steps


def take_batches(
    subset: np.ndarray,
    seed: int,
    batch_size: int,
    lengths: Lengths | None = None,
    length_groups: int = 1,
    start: int = 0,
) -> Iterator[list[int]]:
    """Endless batches of exactly `batch_size` indices; every epoch shows every sample once.

    Each epoch is a permutation by (seed, epoch). What does not fill a batch comes first in the next
    epoch. With `length_groups` > 1, that many consecutive batches form a block: its samples are
    sorted by length and cut into batches again, and these are shuffled. So a batch holds samples of
    similar length, at any length a random choice of the block's, and short and long batches
    alternate at random.

    Args:
        subset: indices of the training samples.
        seed: of the order.
        batch_size: indices per batch.
        lengths: tokens of a sample; needed for `length_groups` > 1.
        length_groups: batches per block.
        start: batches that were taken before, for a resume; their lengths are not asked for.

    Raises:
        ValueError: the subset is empty.
    """
    if not len(subset):
        raise ValueError("there is no sample to train on; raise recovery.data_fraction")
    assert length_groups == 1 or lengths is not None, "blocks are sorted by length"
    waiting, epoch = subset[:0], 0
    while True:
        generator = np.random.default_rng((seed, epoch))
        waiting = np.concatenate([waiting, subset[generator.permutation(len(subset))]])
        whole = len(waiting) - len(waiting) % batch_size
        for at in range(0, whole, length_groups * batch_size):
            block = waiting[at : min(at + length_groups * batch_size, whole)]
            count = len(block) // batch_size
            turns = generator.permutation(count)
            if start >= count:
                start -= count
                continue
            if length_groups > 1 and lengths is not None:
                # Stable: samples of one length stay in their random order.
                block = block[np.argsort([lengths(int(i)) for i in block], kind="stable")]
            for turn in turns[start:]:
                yield [int(i) for i in block[turn * batch_size : (turn + 1) * batch_size]]
            start = 0
        waiting, epoch = waiting[whole:], epoch + 1


def total_steps(
    spec: RecoverySpec,
    samples: int,
    batches: Iterator[list[int]],
    length: Lengths,
    flops: Callable[[int], float],
) -> int:
    """Optimizer steps that the budget buys, at least 1.

    Token and FLOP budgets (nominal FLOPs) are rounded up to the step that reaches them; for these
    alone the global `batches` are read, from the first one on.
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


def warmup_steps(steps: int, fraction: float) -> int:
    """Steps of rising rate: the fraction, or `LEAST_WARMUP` if a quarter of all are as many."""
    least = min(LEAST_WARMUP, steps // 4) if fraction else 0
    return max(math.ceil(fraction * steps), least)


def learning_rate_at(step: int, steps: int, spec: RecoverySpec) -> float:
    """Rate of a 0-based step: linear warm-up, then a cosine to zero at `steps`."""
    peak = spec.peak_learning_rate(steps)
    assert peak is not None
    warmup = warmup_steps(steps, spec.warmup_fraction)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
