"""The hypervolume of a frontier: the area that it covers, up to a fixed corner."""

import math
from collections.abc import Sequence

from analysis.axes import AXES
from analysis.latencies import Latencies
from analysis.load import Trial
from trainables.specs import Frozen


class ReferencePoint(Frozen):
    """The fixed corner of the hypervolume, and the rule that fixed it."""

    x: float
    retention: float = 0.0
    rule: str


def reference_point(
    trials: Sequence[Trial], x: str, latencies: Latencies | None = None
) -> ReferencePoint | None:
    """The corner of the hypervolume: the dense base's own value on `x`, retention 0.

    Its latency is that of the pooled `latencies`, if there are any.

    Where the dense base has no place (it pays no recovery), the corner is the most expensive
    completed trial, rounded up to 1, 2 or 5 times a power of ten, which new trials seldom move.
    """
    if AXES[x].absent == "references":
        costs = [t.axes[x] or 0.0 for t in trials if t.record.status == "completed"]
        if not costs or max(costs) <= 0:
            return None
        scale = 10.0 ** math.floor(math.log10(max(costs)))
        corner = next(f * scale for f in (1, 2, 5, 10) if f * scale >= max(costs))
        return ReferencePoint(x=corner, rule="largest recovery cost, rounded up to 1, 2, 5 x 10^k")
    for trial in trials:
        value = trial.axes[x]
        if trial.is_dense and value is not None:
            if AXES[x].measured and latencies is not None:
                value = latencies.milliseconds(trial.trial_id)
            return ReferencePoint(x=value, rule="dense base")
    return None


def hypervolume(
    points: Sequence[tuple[float, float]], corner: ReferencePoint | None, x: str
) -> float | None:
    """Area between the corner and the points (value on `x`, retention); None without a corner."""
    if corner is None:
        return None
    if not points:
        return 0.0
    import moocore

    more = AXES[x].better == "higher"
    volume = moocore.hypervolume(points, ref=[corner.x, corner.retention], maximise=[more, True])
    return float(volume)
