"""How sure a point's place is, given how many questions were asked: `certain` or `within noise`.

Two trials answered the same questions, so their scores are compared question by question (paired)
and the error of their difference is clustered by image. Say that a point *beats* another when the
95 % interval of the difference of their retentions lies above 0.

- A point that others dominate is `certain` when one of those that cost no more beats it; otherwise
  it is `within noise` of the frontier: it may belong there, and is not called dominated.
- A point of the frontier is `certain` when it beats every point that costs no more, so that what it
  costs does buy something; otherwise a cheaper point may be as good, and it is `within noise`.

The intervals hold pair by pair, not all together: among 20 losers, one is expected to be called
certain by chance when all were in truth equal. Costs are taken as exact. The interval is Student's
on the linearised (delta method) error, not the bootstrap of the records: a sweep of 100 trials has
thousands of pairs, and on the same pair both agree (a test compares them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.contrasts import t_factor
from analysis.load import Trial
from analysis.points import Z_95, Standing
from analysis.samples import same_questions, summed_influences, trial_samples
from trainables.records.clusters import Floats, difference_variances
from trainables.specs import Split

Places = NDArray[np.intp]
BLOCK = 512  # points at a time: beside 10,000 others 40 MiB, where all pairs would take 800


def standings(
    costs: Sequence[float], retentions: Sequence[float], halves: HalfWidths, front: Sequence[bool]
) -> list[Standing]:
    """The standing of each of N points.

    Args:
        costs: on the axis that is minimised.
        retentions: fractions of the dense average.
        halves: half widths of the 95 % intervals of differences in retention.
        front: whether a point is on the frontier.
    """
    cost, retention, first = np.array(costs), np.array(retentions), np.array(front, dtype=bool)
    every = np.arange(len(cost))
    strong = _strongest(cost, retention, halves)
    certain = np.zeros(len(cost), dtype=bool)
    for start in range(0, len(cost), BLOCK):
        block = every[start : start + BLOCK]
        for on_front, others in ((True, every), (False, strong)):
            own = block[first[block] == on_front]
            if not len(own):
                continue
            ahead = retention[others][:, None] - retention[own]  # [q, p]
            width = halves.between(others, own)
            # q costs no more than p, and is another one
            rival = (cost[others][:, None] <= cost[own]) & (others[:, None] != own)
            if on_front:
                certain[own] = ((-ahead > width) | ~rival).all(axis=0)
            else:
                certain[own] = ((ahead > width) & rival).any(axis=0)
    return ["certain" if sure else "within noise" for sure in certain]


def _strongest(cost: Floats, retention: Floats, halves: HalfWidths) -> Places:
    """Places of points such that whatever any point beats, at no more cost, one of these does too.

    Of those with independent errors another one that is as good in cost, retention and error beats
    all that a point beats; of paired ones that cannot be said.
    """
    import moocore

    lone = np.flatnonzero(~halves.paired)
    if not len(lone):
        return np.arange(len(cost))
    values = np.column_stack([cost[lone], -retention[lone], halves.errors[lone]])
    keep = np.asarray(moocore.is_nondominated(values, keep_weakly=True), dtype=bool)
    return np.sort(np.concatenate([lone[keep], np.flatnonzero(halves.paired)]))


@dataclass(frozen=True)
class Paired:
    """Points that answered the same questions.

    Attributes:
        place: [N] the row of each point in `sums`, -1 for those of no such row.
        sums: [M, G] influences on the average, summed by image.
        factor: half widths over standard errors of the difference of averages.
    """

    place: Places
    sums: Floats
    factor: float


@dataclass(frozen=True)
class HalfWidths:
    """Half widths of the 95 % intervals of differences in retention, paired where possible.

    Where two trials did not answer the same questions, or their tables were not kept, their errors
    are taken as independent, which is too wide rather than too narrow: `retention_se` is already
    paired with the dense base, and two students of one dense model err on the same questions.

    Attributes:
        errors: [N] standard errors of the retentions.
        groups: of points that are paired.
    """

    errors: Floats
    groups: tuple[Paired, ...] = ()

    @classmethod
    def of(cls, trials: Sequence[Trial], split: Split) -> HalfWidths:
        """Those of N trials on `split`."""
        errors = np.array([trial.retention(split)[1] or 0.0 for trial in trials])
        tables = [trial_samples(trial, split) for trial in trials]
        groups = []
        for members in same_questions(tables):
            sums = summed_influences([t for m in members if (t := tables[m])])
            first = trials[members[0]].evaluation(split)
            base = first and (first.average if first.retention is None else first.dense_average)
            if base and sums.shape[1] > 1:
                place = np.full(len(trials), -1, dtype=np.intp)
                place[members] = np.arange(len(members))
                groups.append(Paired(place, sums, t_factor(sums.shape[1] - 1) / base))
        return cls(errors, tuple(groups))

    @property
    def paired(self) -> NDArray[np.bool_]:
        """[N] whether a point is in a group."""
        found = np.zeros(len(self.errors), dtype=bool)
        for group in self.groups:
            found |= group.place >= 0
        return found

    def between(self, rows: Places, columns: Places) -> Floats:
        """[R, C] half widths of the points at `rows` against those at `columns`."""
        halves: Floats = Z_95 * np.hypot(self.errors[rows][:, None], self.errors[columns])
        for group in self.groups:
            row, column = group.place[rows], group.place[columns]
            inside = np.ix_(row >= 0, column >= 0)
            variances = difference_variances(
                group.sums[row[row >= 0]], group.sums[column[column >= 0]]
            )
            halves[inside] = group.factor * np.sqrt(variances)
        return halves
