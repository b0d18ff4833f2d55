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

from collections.abc import Sequence

import numpy as np

from analysis.contrasts import t_factor
from analysis.load import Trial
from analysis.points import Z_95, Standing
from analysis.samples import average_differences, same_questions, trial_samples
from trainables.records.clusters import Floats
from trainables.specs import Split


def standings(
    costs: Sequence[float], retentions: Sequence[float], halves: Floats, front: Sequence[bool]
) -> list[Standing]:
    """The standing of each of N points.

    Args:
        costs: on the axis that is minimised.
        retentions: fractions of the dense average.
        halves: [N, N] half widths of the 95 % intervals of differences in retention.
        front: whether a point is on the frontier.
    """
    cost, retention = np.array(costs), np.array(retentions)
    ahead = retention[:, None] - retention[None, :]
    beats = ahead > halves
    rival = cost[:, None] <= cost[None, :]  # [q, p]: q costs no more than p
    np.fill_diagonal(rival, False)
    beaten = (beats & rival).any(axis=0)
    beats_all = (beats.T | ~rival).all(axis=0)
    certain = np.where(front, beats_all, beaten)
    return ["certain" if sure else "within noise" for sure in certain]


def half_widths(trials: Sequence[Trial], split: Split) -> Floats:
    """[N, N] half widths of the 95 % intervals of differences in retention, paired where possible.

    Where two trials did not answer the same questions, or their tables were not kept, their errors
    are taken as independent, which is too wide rather than too narrow: `retention_se` is already
    paired with the dense base, and two students of one dense model err on the same questions.
    """
    errors = np.array([trial.retention(split)[1] or 0.0 for trial in trials])
    halves: Floats = Z_95 * np.hypot(errors[:, None], errors[None, :])
    tables = [trial_samples(trial, split) for trial in trials]
    for members in same_questions(tables):
        variances, images = average_differences([t for m in members if (t := tables[m])])
        first = trials[members[0]].evaluation(split)
        base = first and (first.average if first.retention is None else first.dense_average)
        if base and images > 1:
            halves[np.ix_(members, members)] = t_factor(images - 1) * np.sqrt(variances) / base
    return halves
