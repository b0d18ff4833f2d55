"""Whether a sweep's budget has room for another trial."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from analysis.axes import Axis
from sweeps.engine.search.history import MARGIN, Floats, standardised
from sweeps.engine.search.observations import Observation, by_cell
from sweeps.engine.spec.budget_spec import BudgetSpec, PlateauSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.spent import device_seconds, disk_bytes, spent_of
from trainables.specs import GIB, TrialSpec

LOOK_SECONDS = 60.0  # between two looks at the disk
RAISE = "raise it, and the same command goes on"


class Purse:
    """What is left of a budget, kept up to date by who hands out the trials.

    Args:
        budget: the limits; None has none.
        ledger: of the sweep; nobody else adds records while this lives.
        expected: forecast device-seconds of a trial; None is the mean of those that are over.
        clock: seconds that go on.
    """

    def __init__(
        self,
        budget: BudgetSpec | None,
        ledger: Ledger,
        expected: Callable[[TrialSpec], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget, self._ledger = budget or BudgetSpec(), ledger
        self._expected, self._clock = expected or self._mean, clock
        self._running: dict[str, tuple[TrialSpec, float, float]] = {}  # forecast, started
        before = spent_of(ledger)
        self._device, self._wall = before.device_seconds, before.wall_seconds
        self._trials, self._begun = before.trials, clock()
        self._disk, self._looked = 0, -LOOK_SECONDS

    def started(self, trial_id: str, spec: TrialSpec) -> None:
        """A trial has begun."""
        if not self._running:
            self._begun = self._clock()
        self._running[trial_id] = (spec, self._expected(spec), self._clock())

    def ended(self, trial_id: str) -> None:
        """A trial is over; without a record it was interrupted, and costs what it ran."""
        spec, _, begun = self._running.pop(trial_id)
        record = self._ledger.record(trial_id)
        lasted = (self._clock() - begun) * spec.workers
        self._device += lasted if record is None else device_seconds(record)
        self._trials += record is not None
        if not self._running:
            self._wall += self._clock() - self._begun

    def refusal(self, spec: TrialSpec) -> str | None:
        """Why this trial does not fit; None if it does."""
        return self._exceeded(self._expected(spec), spec.workers, trials=1)

    def exceeded(self) -> bool:
        """Whether what runs has already gone beyond a limit."""
        return self._exceeded(0.0, 1, trials=0, forecast=False) is not None

    def _exceeded(
        self, seconds: float, workers: int, trials: int, forecast: bool = True
    ) -> str | None:
        budget, now = self._budget, self._clock()
        running, ahead = 0.0, seconds / workers
        for spec, expected, begun in self._running.values():
            ran = (now - begun) * spec.workers
            running += max(ran, expected) if forecast else ran
            if forecast:
                ahead = max(ahead, (expected - ran) / spec.workers)
        hours = (self._device + running + seconds) / 3600
        wall = self._wall + (now - self._begun if self._running else 0.0) + ahead
        total = self._trials + len(self._running) + trials
        price = budget.price_per_device_hour or 0.0
        counts = [
            ("device_hours", budget.device_hours, hours, "device-hours"),
            ("money", budget.money, hours * price, f"at {price:g} per device-hour"),
            ("wall_hours", budget.wall_hours, wall / 3600, "hours"),
            ("trials", budget.trials, total, "trials"),
        ]
        if budget.disk_gib is not None:
            counts.append(("disk_gib", budget.disk_gib, self._disk_gib(), "GiB"))
        for name, limit, would, unit in counts:
            if limit is not None and would > limit:
                return (
                    f"The budget ended the search: another trial would take it to {would:.3g} "
                    f"{unit}, beyond budget.{name}={limit:g}; {RAISE}."
                )
        return None

    def _mean(self, spec: TrialSpec) -> float:
        return self._device / max(self._trials, 1)

    def _disk_gib(self) -> float:
        if self._clock() - self._looked >= LOOK_SECONDS:
            self._disk, self._looked = disk_bytes(self._ledger), self._clock()
        return self._disk / GIB


def plateau(
    spec: PlateauSpec | None, observations: Sequence[Observation], objectives: Sequence[Axis]
) -> str | None:
    """Why the search has found enough; None while it has not.

    The hypervolume of a cell is that of its objectives as the sampler sees them (`standardised`),
    down to the worst of the sweep in each; it is summed over the cells.
    """
    if spec is None:
        return None
    done = [o for o in observations if o.values is not None]
    if len(done) < 2 * spec.trials:
        return None
    points = np.array(standardised(done, objectives), dtype=float)
    maximise = [axis.better == "higher" for axis in objectives]
    worst = np.where(maximise, points.min(axis=0) - MARGIN, points.max(axis=0) + MARGIN)
    now = before = 0.0
    for places in by_cell(done):
        now += _volume(points[places], worst, maximise)
        earlier = [place for place in places if place < len(done) - spec.trials]
        before += _volume(points[earlier], worst, maximise) if earlier else 0.0
    growth = (now - before) / now
    if growth >= spec.growth:
        return None
    return (
        f"The budget ended the search: the last {spec.trials} completed trials enlarged the "
        f"hypervolume by {growth:.2%}, less than budget.plateau.growth={spec.growth:g}; lower it "
        "(or drop the plateau), and the same command goes on."
    )


def _volume(points: Floats, worst: Floats, maximise: Sequence[bool]) -> float:
    import moocore

    return float(moocore.hypervolume(points, ref=worst, maximise=list(maximise)))
