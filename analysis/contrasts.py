"""Effects with intervals: paired comparisons over seeds, and a regression by configuration.

Everything is in the units of the values that are given. Intervals are two-sided, of 95 %.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trainables.records.clusters import Floats
from trainables.specs import Frozen

LEVEL = 0.95
SINGULAR = 1e-9  # of a cluster's leverage; below it the others leave a column undetermined


class Effect(Frozen):
    """An estimate with its interval; `runs` is the number of trials that show the factor."""

    name: str
    estimate: float
    low: float
    high: float
    runs: int


class PairedLayout(Frozen):
    """C configurations, each run with the same S seeds: y[c, s] = m_c + b_s + noise.

    Attributes:
        means: m_c, over the seeds.
        deviation: standard deviation of the noise, what is left after m_c and b_s.
        within: standard deviation over the seeds within a configuration, b_s included.
        degrees: degrees of freedom of `deviation`, (C - 1)(S - 1).
        seeds: S.
    """

    means: tuple[float, ...]
    deviation: float
    within: float
    degrees: int
    seeds: int


def paired_layout(values: Floats) -> PairedLayout:
    """Means and noise of a complete table [C, S].

    Raises:
        ValueError: fewer than two configurations or seeds, which leave nothing to judge noise by.
    """
    count, seeds = values.shape
    if count < 2 or seeds < 2:
        raise ValueError(
            f"{count} configurations with {seeds} seeds leave no noise to compare with; run at "
            "least two configurations with at least two seeds"
        )
    means = values.mean(axis=1)
    left = values - means[:, None] - values.mean(axis=0)[None, :] + values.mean()
    degrees = (count - 1) * (seeds - 1)
    return PairedLayout(
        means=tuple(means.tolist()),
        deviation=float(np.sqrt(np.square(left).sum() / degrees)),
        within=float(np.sqrt(values.var(axis=1, ddof=1).mean())),
        degrees=degrees,
        seeds=seeds,
    )


class Noise(NamedTuple):
    """A variance and its degrees of freedom."""

    variance: float
    degrees: float


def pooled_noise(groups: Iterable[Sequence[float]]) -> Noise | None:
    """The variance within groups of independent values; None without a group of several."""
    squares, degrees = 0.0, 0
    for values in groups:
        if len(values) > 1:
            squares += float(np.var(values)) * len(values)
            degrees += len(values) - 1
    return Noise(squares / degrees, degrees) if degrees else None


@functools.cache  # asked for every point of every frontier
def t_factor(degrees: float, among: int = 1) -> float:
    """Half width of an interval in standard errors: Student's t.

    `among` intervals of that width hold together (Bonferroni), so each holds for the best as well.
    """
    return float(stats.t.ppf(1 - (1 - LEVEL) / (2 * among), degrees))


@functools.cache  # the quantile takes 70 to 500 ms
def all_pairs_factor(count: int, degrees: float, level: float = LEVEL) -> float:
    """The same, for all differences among `count` means at once: Tukey's range over root 2.

    All differences lie in their intervals together with a probability of `level`, so the interval
    holds for the best too, although it was chosen by looking. A single mean has no differences.
    """
    return float(stats.studentized_range.ppf(level, max(count, 2), degrees) / np.sqrt(2.0))


def deviation_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Standard deviation of independent values and its chi-squared interval."""
    degrees = len(values) - 1
    deviation = float(np.std(values, ddof=1))
    quantiles = stats.chi2.ppf([(1 + LEVEL) / 2, (1 - LEVEL) / 2], degrees)
    low, high = np.sqrt(degrees / quantiles).tolist()
    return deviation, deviation * low, deviation * high


def regression(
    names: Sequence[str],
    columns: Floats,
    values: Floats,
    clusters: Sequence[str],
    *,
    blocks: Sequence[str] = (),
    among: int = 1,
) -> tuple[Effect, ...]:
    """Least squares with an intercept; intervals by a jackknife over the clusters.

    Leaving out one cluster (a configuration with all its seeds) at a time needs no assumption about
    how the noise is spread, and repeats do not pass for independent evidence. The interval is
    Student's t with (clusters - coefficients) degrees of freedom. A column that varies in fewer
    than three clusters, or follows from the columns before it, is left out.

    Args:
        names: of the K columns.
        columns: [N, K].
        values: [N].
        clusters: [N], of each row.
        blocks: [N], those rows that share an intercept of their own; by default all do.
        among: intervals that are to hold together.

    Returns:
        An effect per column that was kept; none with too few clusters.
    """
    groups = np.array(clusters)
    names_of_blocks, block = np.unique(np.array(blocks or [""] * len(values)), return_inverse=True)
    intercepts = np.eye(len(names_of_blocks))[block]
    kept = estimable(columns, groups, intercepts)
    design = np.column_stack([intercepts, columns[:, kept]])
    labels = np.unique(groups)
    degrees = len(labels) - design.shape[1]
    if not kept or degrees < 1:
        return ()
    estimate = fitted(design, values)
    left_out = without_each(design, values, groups, labels, estimate)
    spread = np.square(left_out - left_out.mean(axis=0)).sum(axis=0)
    half = t_factor(degrees, among) * np.sqrt((len(labels) - 1) / len(labels) * spread)
    ends = np.stack([estimate, estimate - half, estimate + half], axis=1)
    ends = ends[len(names_of_blocks) :].tolist()
    return tuple(
        Effect(
            name=names[column],
            estimate=middle,
            low=low,
            high=high,
            runs=int(np.count_nonzero(columns[:, column])),
        )
        for column, (middle, low, high) in zip(kept, ends, strict=True)
    )


def without_each(
    design: Floats, values: Floats, groups: NDArray[np.str_], labels: NDArray[np.str_], fit: Floats
) -> Floats:
    """[G, K] the coefficients without each of G clusters.

    With design = Q R, a cluster's rows Q_g and its residuals e_g, leaving it out moves the
    coefficients by -R^-1 Q_g' (I - Q_g Q_g')^-1 e_g. Where that has no inverse, because nothing
    else shows a column, the rest is fitted by itself.
    """
    q, r = np.linalg.qr(design)
    back = np.linalg.inv(r)
    residuals = values - design @ fit
    order = np.argsort(groups, kind="stable")
    firsts = np.searchsorted(groups[order], labels)
    found = np.empty((len(labels), design.shape[1]))
    for at, rows in enumerate(np.split(order, firsts[1:])):
        own = q[rows]
        rest = np.eye(len(rows)) - own @ own.T
        if np.linalg.eigvalsh(rest)[0] < SINGULAR:
            others = groups != labels[at]
            found[at] = fitted(design[others], values[others])
        else:
            found[at] = fit - back @ (own.T @ np.linalg.solve(rest, residuals[rows]))
    return found


def estimable(columns: Floats, groups: NDArray[np.str_], intercepts: Floats) -> list[int]:
    """Columns that vary in three clusters at least, and do not follow from those before them."""
    kept: list[int] = []
    for at, column in enumerate(columns.T):
        shown, hidden = np.unique(groups[column != 0]), np.unique(groups[column == 0])
        varies = len(shown) >= 3 and (len(hidden) >= 3 or np.ptp(column) > 0)
        design = np.column_stack([intercepts, columns[:, [*kept, at]]])
        if varies and np.linalg.matrix_rank(design) == design.shape[1]:
            kept.append(at)
    return kept


def fitted(design: Floats, values: Floats) -> Floats:
    """[K] the coefficients of least squares."""
    return np.asarray(np.linalg.lstsq(design, values, rcond=None)[0], dtype=np.float64)
