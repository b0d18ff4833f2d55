"""Which optimizer steps are skipped: those whose loss is not finite, or spikes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

WINDOW = 50  # losses that a spike is measured against
SETTLED = 10  # losses that must have been seen before anything counts as a spike
MOST_IN_A_ROW = 3
NOTHING = 1e-3  # a loss below it has nowhere to spike from: the student equals its teacher


def reason_to_skip(loss: float, recent: Sequence[float], factor: float | None) -> str | None:
    """Why a step with this loss is to be skipped, or None.

    A spike is a loss above `factor` times the median of the last losses: one bad batch then costs
    a step rather than the run (Chowdhery et al., arXiv 2204.02311, section 5.1, skip batches too).

    Args:
        loss: the weighted sum of the terms over the global batch.
        recent: losses of the last applied steps, at most WINDOW of them.
        factor: `RecoverySpec.spike_factor`.
    """
    if not math.isfinite(loss):
        return "the loss is not finite"
    if factor is not None and len(recent) >= SETTLED:
        usual = max(statistics.median(recent), NOTHING)
        if loss > factor * usual:
            return f"the loss is {loss:.4g}, above {factor:g} times its usual {usual:.4g}"
    return None


def window(recent: Sequence[float], loss: float) -> tuple[float, ...]:
    """The last losses with one more."""
    return (*recent, loss)[-WINDOW:]
