"""How sure a point's place is: `certain`, `certainly dominated` or `within noise`.

Two trials answered the same questions, so their scores are compared question by question (paired)
and the error of their difference is clustered by image. Say that a point *beats* another when the
interval of the difference of their retentions lies above 0.

- A point of the frontier is `certain` when it beats every point that costs no more, so that what it
  costs does buy something; otherwise a cheaper point may be as good, and it is `within noise`.
- A point below the frontier is `certainly dominated` when a point of the frontier that costs no
  more beats it; otherwise it may belong there, and is `within noise` of the frontier.

The intervals are Tukey's, of all pairs of the N points together: in 95 % of sweeps no difference
lies outside its interval, so that none of the sure words is wrong, whichever points the frontier
consists of (family-wise error; `tests/benchmarks/statistics.py`). They hold the choice of
questions, not the seeds of the training. They are Student's on the linearised (delta method) error,
not the bootstrap of the records: on the same pair both agree (a test compares them).

A cost that a device measured has an interval too (`latencies.py`). Then a rival must cost no more
beyond that noise to dominate, and may cost no more within it to contest a place of the frontier;
questions and costs share the 5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.contrasts import LEVEL, all_pairs_factor
from analysis.latencies import Latencies
from analysis.load import Trial
from analysis.points import Standing
from analysis.samples import paired_influences
from trainables.records.clusters import Floats, difference_variances
from trainables.specs import Split

Places = NDArray[np.intp]
SHARED = 1 - (1 - LEVEL) / 2  # where costs have intervals too
BLOCK = 512  # points of a frontier at a time: beside 10,000 others 40 MiB


@dataclass(frozen=True)
class Costs:
    """What N points cost.

    Attributes:
        values: less is better.
        errors: half widths: the interval of the difference of two costs is the root of the sum of
            two squares; zeros where costs are exact.
        architectures: points of one number cost the same.
    """

    values: Floats
    errors: Floats
    architectures: Places

    @classmethod
    def measured(cls, trial_ids: Sequence[str], latencies: Latencies) -> Costs:
        """Logarithms of measured latencies; the intervals of all hold together."""
        found = [latencies.architectures[name] for name in trial_ids]
        kinds = {key: place for place, key in enumerate(dict.fromkeys(found))}
        errors = np.full(len(found), np.inf)
        if latencies.degrees:
            factor = all_pairs_factor(len(kinds), latencies.degrees, SHARED)
            errors = factor * np.array([latencies.error(name) for name in trial_ids])
        values = np.log([latencies.milliseconds(name) for name in trial_ids])
        return cls(values, errors, np.array([kinds[key] for key in found], dtype=np.intp))

    @classmethod
    def exact(cls, values: Sequence[float]) -> Costs:
        """Costs without noise."""
        found = np.array(values, dtype=np.float64)
        return cls(found, np.zeros(len(found)), np.arange(len(found)))

    def excess(self, rows: Places) -> tuple[Floats, Floats]:
        """[R, N] how much less others cost than the points at `rows`, and the half width of it."""
        less = self.values[rows][:, None] - self.values
        noise = np.hypot(self.errors[rows][:, None], self.errors)
        noise[self.architectures[rows][:, None] == self.architectures] = 0.0
        return less, noise


def standings(
    costs: Costs, retentions: Sequence[float], halves: HalfWidths, front: Sequence[bool]
) -> list[Standing]:
    """The standing of each of N points.

    Args:
        costs: on the axis that is minimised.
        retentions: fractions of the dense average.
        halves: half widths of the intervals of differences in retention.
        front: whether a point is on the frontier.
    """
    retention, first = np.array(retentions, dtype=np.float64), np.array(front, dtype=bool)
    every, leaders = np.arange(len(retention)), np.flatnonzero(first)
    dominated, certain = np.zeros(len(retention), dtype=bool), first.copy()
    for start in range(0, len(leaders), BLOCK):
        block = leaders[start : start + BLOCK]
        ahead = retention[block][:, None] - retention  # [leader, point]
        beats = ahead > halves.between(block, every)
        less, noise = costs.excess(block)
        others = block[:, None] != every
        dominated |= (beats & others & (less <= -noise)).any(axis=0)
        certain[block] = (beats | ~others | (less < -noise)).all(axis=1)
    return [
        "certain" if certain[p] else "certainly dominated" if lost else "within noise"
        for p, lost in enumerate(dominated & ~first)
    ]


@dataclass(frozen=True)
class Paired:
    """Points that answered the same questions.

    Attributes:
        place: [N] the row of each point in `sums`, -1 for those of no such row.
        sums: [M, G] influences on the retention, summed by image.
        factor: half widths over standard errors of the difference.
    """

    place: Places
    sums: Floats
    factor: float


@dataclass(frozen=True)
class HalfWidths:
    """Half widths of the intervals of differences in retention, paired where possible.

    Where two trials did not answer the same questions, or their tables were not kept, their errors
    are taken as independent, which is too wide rather than too narrow: `retention_se` is already
    paired with the dense base, and two students of one dense model err on the same questions.

    Attributes:
        errors: [N] standard errors of the retentions.
        factor: half widths over standard errors of differences that are not paired.
        groups: of points that are paired.
    """

    errors: Floats
    factor: float
    groups: tuple[Paired, ...] = ()

    @classmethod
    def of(
        cls,
        trials: Sequence[Trial],
        split: Split,
        level: float = LEVEL,
        read: Sequence[int] | None = None,
    ) -> HalfWidths:
        """Those of N trials on `split`; all their intervals hold together in `level` of cases.

        `read` are the places of those whose questions are read, by default all.
        """
        count = len(trials)
        chosen = np.array(range(count) if read is None else read, dtype=np.intp)
        errors = np.array([trial.retention(split)[1] or 0.0 for trial in trials])
        groups = []
        for members, sums in paired_influences([trials[p] for p in chosen.tolist()], split):
            place = np.full(count, -1, dtype=np.intp)
            place[chosen[members]] = np.arange(len(members))
            factor = all_pairs_factor(count, sums.shape[1] - 1, level)
            groups.append(Paired(place, sums, factor))
        return cls(errors, all_pairs_factor(count, np.inf, level), tuple(groups))

    def between(self, rows: Places, columns: Places) -> Floats:
        """[R, C] half widths of the points at `rows` against those at `columns`."""
        halves: Floats = self.factor * np.hypot(self.errors[rows][:, None], self.errors[columns])
        for group in self.groups:
            row, column = group.place[rows], group.place[columns]
            inside = np.ix_(row >= 0, column >= 0)
            variances = difference_variances(
                group.sums[row[row >= 0]], group.sums[column[column >= 0]]
            )
            halves[inside] = group.factor * np.sqrt(variances)
        return halves
