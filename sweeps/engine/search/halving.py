"""Successive halving on task scores, within a size bucket, by non-dominated rank.

Asynchronous (Li et al., arXiv 1810.05934): a trial that reaches a rung is compared at once with the
trials of its bucket that reached the same rung, and goes on if it is among the best 1/eta of them.
Training losses are never compared: they do not predict task accuracy after pruning.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.engine.spec import RungSpec


@dataclass(frozen=True)
class RungScore:
    """A trial at a rung: retention (maximised) and nominal recovery cost so far (minimised)."""

    trial_id: str
    retention: float
    recovery_tflops: float


class Halving:
    """Decides at rungs which trials go on; knows nothing of ray."""

    def __init__(self, spec: RungSpec) -> None:
        self.spec = spec
        self._scores: dict[tuple[str, int], dict[str, RungScore]] = defaultdict(dict)

    def go_on(self, bucket: str, rung: int, score: RungScore) -> bool:
        """Whether the trial goes on past this rung; a score that is not finite does not.

        Args:
            bucket: only trials of one bucket (one target ratio) are compared.
            rung: index of the rung.
            score: the trial's standing; the last report of a trial counts.
        """
        if not math.isfinite(score.retention):
            return False
        seen = self._scores[bucket, rung]
        seen[score.trial_id] = score
        if len(seen) < self.spec.min_trials:
            return True
        ranks = non_dominated_ranks(list(seen.values()))
        places = math.ceil(len(seen) / self.spec.reduction_factor)
        better = sum(rank < ranks[score.trial_id] for rank in ranks.values())
        return better < places


def non_dominated_ranks(scores: Sequence[RungScore]) -> dict[str, int]:
    """Rank by trial id: 0 for the non-dominated, 1 for those once the zeros are gone, and so on."""
    import moocore

    points = [(score.retention, score.recovery_tflops) for score in scores]
    ranks = moocore.pareto_rank(points, maximise=[True, False])
    return {score.trial_id: int(rank) for score, rank in zip(scores, ranks, strict=True)}
