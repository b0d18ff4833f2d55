"""Early stopping at rungs: a trial goes on unless it will end behind one that costs no more.

How a trial will end is foretold from its score by what finished trials of the sweep made of theirs.
With the depth of a retention r, y(r) = -log(max(f, 1 + f - r)), f = 0.02, that is by the line
y(final) = a + b y(score) and its residual standard error s: recoveries close a *share* of what is
missing, so residuals are alike in depth, and not in retention. A trial stops when another one of
its bucket, whose *whole* recovery costs no more, ends or is foretold to end more than `margin`
standard errors of the difference deeper. Training losses are never compared: they do not predict
task accuracy after pruning.

So nothing is stopped for what it costs, and where curves cross, s is large and little is stopped:
`tests/sweeps/search/test_halving.py` bounds how many trials of the final front go, and
`tests/benchmarks/search.py` counts them for whole searches. Also tried, and worse (more of the
front gone for the time saved): margins of 2 and 3, the best half by non-dominated rank or by
hypervolume contribution, domination beyond multiples of the scores' own standard errors. The error
of a score is the smaller part of what a rung does not tell.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sweeps.engine.search.observations import cell_id
from sweeps.engine.spec import RungSpec
from sweeps.engine.spec.ledger import Ledger, Request
from trainables.common.files import read_json
from trainables.records import RUNG, RungResult, TrialRecord

FLOOR = 0.02  # nearer to the dense model than this, the scores' own noise is what remains
END = 1.0  # the fraction at which a trial ends


@dataclass
class Course:
    """What is known of a trial's course.

    Attributes:
        bucket: only trials of one bucket are compared: a cell, and one size and quantization.
        scores: retention at the rungs that it reached and at its end, by fraction of the budget.
        tflops: nominal cost of its whole recovery, as it was foretold there.
    """

    bucket: Hashable
    scores: dict[float, float] = field(default_factory=dict)
    tflops: dict[float, float] = field(default_factory=dict)

    def costs_no_more(self, other: Course) -> bool:
        """Whether its recovery costs at most the other's.

        Costs are foretold from the samples so far, so equal ones are compared at an equal fraction.
        """
        at = max(other.tflops)
        return self.tflops.get(at, self.tflops[max(self.tflops)]) <= other.tflops[at] * (1 + 1e-9)


class Forecast(NamedTuple):
    """Depth at the end = level + slope * depth at the rung, with standard error `spread`."""

    level: float
    slope: float
    spread: float

    def of(self, score: float) -> tuple[float, float]:
        """(depth at the end, its standard error) of a trial with this score at the rung."""
        return self.level + self.slope * depth(score), self.spread


def depth(retention: float) -> float:
    """How near to the dense model, on a scale where recoveries move alike: y(r), see above."""
    return -math.log(max(FLOOR, 1 + FLOOR - retention))


def forecast(courses: Collection[Course], fraction: float, least: int) -> Forecast | None:
    """How trials end by their score at a rung; None while fewer than `least` tell."""
    pairs = [
        (depth(course.scores[fraction]), depth(course.scores[END]))
        for course in courses
        if END in course.scores and fraction in course.scores
    ]
    if len(pairs) < least:
        return None
    at_rung, at_end = np.array(pairs).T
    terms = np.stack([np.ones_like(at_rung), at_rung], axis=1)
    level, slope = np.linalg.lstsq(terms, at_end, rcond=None)[0]
    squares = float(np.sum((at_end - level - slope * at_rung) ** 2))
    return Forecast(float(level), float(slope), math.sqrt(squares / (len(pairs) - 2)))


def end_of(course: Course, forecasts: Mapping[float, Forecast]) -> tuple[float, float] | None:
    """(depth at the end, its standard error), by the latest rung of a trial that has not ended."""
    if END in course.scores:
        return depth(course.scores[END]), 0.0
    told = [fraction for fraction in course.scores if fraction in forecasts]
    return forecasts[max(told)].of(course.scores[max(told)]) if told else None


def falls_behind(
    mine: Course, others: Iterable[Course], forecasts: Mapping[float, Forecast], margin: float
) -> bool:
    """Whether one of `others`, at no higher cost, ends above `mine` beyond doubt."""
    end = end_of(mine, forecasts)
    for other in others if end else ():
        ahead = end_of(other, forecasts)
        if end and ahead and other.costs_no_more(mine):
            if ahead[0] - end[0] > margin * math.hypot(end[1], ahead[1]):
                return True
    return False


class Halving:
    """Decides at rungs which trials go on; knows nothing of ray.

    All that it knows comes from the ledger, so a sweep that is resumed judges as before.
    """

    def __init__(self, spec: RungSpec, ledger: Ledger) -> None:
        self._spec, self._ledger = spec, ledger
        self._courses: dict[str, Course] = {}
        self._open: dict[str, Request] = dict(ledger.requests())  # without a record so far
        for name, request in self._open.items():
            path = ledger.trials / name / RUNG
            reached = read_json(path, TrialRecord).rungs if path.exists() else ()
            self._courses[name] = _course(request, reached)

    def go_on(self, trial_id: str, reached: RungResult) -> bool:
        """Whether the trial goes on past this rung.

        What the sampler did not choose always does; of the rest, a score that is not finite ends.

        Args:
            trial_id: the trial, which the ledger holds.
            reached: how it stands there; its last report counts.
        """
        self._catch_up()
        request, mine = self._open[trial_id], self._courses[trial_id]
        _take(mine, request, reached)
        if request.origin != "sampler":
            return True
        if reached.retention is None or not math.isfinite(reached.retention):
            return False
        forecasts = {
            fraction: expected
            for fraction in request.spec.rungs
            if (expected := forecast(self._courses.values(), fraction, self._spec.min_trials))
        }
        others = (c for c in self._courses.values() if c.bucket == mine.bucket and c is not mine)
        return not falls_behind(mine, others, forecasts, self._spec.margin)

    def _catch_up(self) -> None:
        """Take in the trials that were asked for and those that ended since the last rung."""
        for name, request in self._ledger.seen().items():
            if name not in self._courses and request.base == self._ledger.bases.current:
                self._open[name], self._courses[name] = request, Course(_bucket(request))
        for name, request in list(self._open.items()):
            record = self._ledger.record(name)
            if record is not None:
                del self._open[name]
                self._courses[name] = _whole(request, record)


def _whole(request: Request, record: TrialRecord) -> Course:
    """The course of a trial that is over; a failed one's and a reference's tell nothing."""
    if record.status == "failed" or request.origin == "reference":
        return Course(_bucket(request))
    course = _course(request, record.rungs)
    if record.status == "completed" and record.as_trained is not None:
        cost = record.recovery.tflops if record.recovery else 0.0
        _put(course, END, record.as_trained.retention, cost)
    return course


def _course(request: Request, rungs: Iterable[RungResult]) -> Course:
    course = Course(_bucket(request))
    for reached in rungs:
        _take(course, request, reached)
    return course


def _take(course: Course, request: Request, reached: RungResult) -> None:
    fraction = request.spec.rungs[reached.rung]
    share = reached.recovery_tflops / fraction  # records of earlier versions
    cost = reached.final_tflops if reached.final_tflops is not None else share
    _put(course, fraction, reached.retention, cost)


def _put(course: Course, fraction: float, retention: float | None, tflops: float) -> None:
    if retention is not None and math.isfinite(retention):
        course.scores[fraction], course.tflops[fraction] = retention, tflops


def _bucket(request: Request) -> Hashable:
    """Rungs score the unquantized student, so its end says nothing about another quantization."""
    spec = request.spec
    return (cell_id(request.cell), spec.pruning.amount, spec.quantization)
