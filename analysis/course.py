"""How a search went: the hypervolume of what it had found after each of its trials.

Scores are those of the search split throughout, as the search saw them; a score of the report split
comes only when it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from analysis.axes import AXES, DEFAULT_X
from analysis.hypervolume import ReferencePoint, hypervolume, reference_point
from analysis.load import Trial
from trainables.specs import Frozen

COST = "recovery_tflops"
Cell = tuple[str, float]


class Corners(Frozen):
    """What hypervolumes are measured from, and the cells (method, ratio) that are counted."""

    size: ReferencePoint | None
    cost: ReferencePoint | None
    cells: tuple[Cell, ...]


class Moment(Frozen):
    """How far a search was, as shares of boxes up to the corner and a retention of 1.

    Attributes:
        trials: that had ended.
        device_hours: that they had taken.
        size: the sweep's frontier of retention over weight memory.
        cost: mean over the cells of the frontiers of retention over recovery cost.
    """

    trials: int
    device_hours: float
    size: float | None
    cost: float | None


def corners(trials: Sequence[Trial]) -> Corners:
    """The corners of a sweep, and its cells in order."""
    own = {_cell(t) for t in trials if _counts(t)}
    return Corners(
        size=reference_point(trials, DEFAULT_X),
        cost=reference_point(trials, COST),
        cells=tuple(sorted(own)),
    )


def course(trials: Iterable[Trial], at: Corners) -> tuple[Moment, ...]:
    """The moments at which a share grew, and the last one.

    Args:
        trials: in the order in which they ended.
        at: corners and cells; trials of other cells add to the size's share only.
    """
    size = _Front(DEFAULT_X, at.size)
    costs = {cell: _Front(COST, at.cost) for cell in at.cells}
    found: list[Moment] = []
    count, seconds = 0, 0.0
    flat: tuple[float | None, float | None] | None = None  # of the last moment, if it grew nothing
    for trial in trials:
        if trial.is_reference:
            continue
        count += 1
        seconds += sum(trial.record.cost.device_seconds.values()) if trial.record.cost else 0.0
        fronts = [size, costs.get(_cell(trial))] if _counts(trial) else []
        grew = any([front.add(trial) for front in fronts if front is not None])
        shares = [front.share for front in costs.values()]
        moment = Moment(
            trials=count,
            device_hours=seconds / 3600,
            size=size.share,
            cost=sum(s or 0.0 for s in shares) / len(shares) if shares and at.cost else None,
        )
        if found and not grew and (found[-1].size, found[-1].cost) == flat:
            found.pop()  # nothing happened in between
        flat = None if grew else (moment.size, moment.cost)
        found.append(moment)
    return tuple(found)


def in_order(trials: Sequence[Trial]) -> list[Trial]:
    """Trials as they ended."""
    return sorted(trials, key=lambda t: (t.record.provenance.finished, t.trial_id))


class _Front:
    """The non-dominated points so far, and the share of their box; None without a corner."""

    def __init__(self, x: str, corner: ReferencePoint | None) -> None:
        self._x, self._corner = x, corner
        self._points: list[tuple[float, float]] = []
        self.share = None if corner is None else 0.0

    def add(self, trial: Trial) -> bool:
        """Take in a trial; whether it enlarged the share."""
        value, retention = trial.axes[self._x], trial.retention("search")[0]
        if self._corner is None or value is None or retention is None:
            return False
        cost: Callable[[float], float] = AXES[self._x].cost
        if any(cost(v) <= cost(value) and r >= retention for v, r in self._points):
            return False
        kept = [(v, r) for v, r in self._points if cost(v) < cost(value) or r > retention]
        self._points = [*kept, (value, retention)]
        area = hypervolume(self._points, self._corner, self._x) or 0.0
        self.share = area / self._corner.x if self._corner.x else 0.0
        return True


def _counts(trial: Trial) -> bool:
    own = not trial.is_reference and not trial.is_confirmation
    return own and trial.record.status == "completed"


def _cell(trial: Trial) -> Cell:
    return trial.method, trial.ratio_target
