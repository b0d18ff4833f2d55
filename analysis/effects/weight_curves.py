"""What the share of each loss term does: partial dependence in a quadratic model of mixtures.

Shares of cross-entropy, logits and hidden states are a, b and g, which sum to 1. The quadratic
model of mixtures of Scheffe (Journal of the Royal Statistical Society B 20, 1958),

    retention = intercept + b + g + b^2 + g^2 + b g + b [another logits loss] + log2 of the rate,

each but the intercept with a coefficient, is fitted by least squares to all trials that recovered,
with an intercept for each combination of method, ratio, scope and share of the data. The curve of a
share is the mean over the trials of what the model says with that share set, in place of
cross-entropy's (and, where that is used up, of the other one's): what all else was asked of them is
averaged over.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from analysis.contrasts import estimable, fitted, t_factor, without_each
from analysis.effects.configurations import configurations
from analysis.load import Trial
from trainables.records.clusters import Floats
from trainables.specs import Frozen

TERMS = {"logits": 1, "hidden states": 2}  # place among the shares
POINTS = 21
FEWEST = 12  # configurations
DEGREES = 5  # of freedom that a fit leaves at least
METHOD = (
    "Retention by the share of a loss term, against its lowest share that was tried: a quadratic "
    "model of mixtures (Scheffe) of all trials that recovered, with an intercept for each method, "
    "ratio, scope and share of the data; it takes the place of cross-entropy. Bands are 95 % "
    "intervals, each by itself, by a jackknife over configurations: over trials and seeds, the "
    "questions being the same throughout."
)


class WeightCurve(Frozen):
    """Points of search-split retention by the share of a term, against its first share.

    Attributes:
        term: one of `TERMS`.
        shares: from the lowest to the highest that was tried.
        trials: configurations that have the term.
    """

    term: str
    shares: tuple[float, ...]
    points: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    trials: int


def weight_curves(trials: Sequence[Trial]) -> tuple[WeightCurve, ...]:
    """A curve for each term whose share varies; none with too few configurations to fit."""
    rows = [
        (c.key, first, 100 * float(np.mean(kept)))
        for c in configurations(trials)
        if (first := c.first).loss is not None
        and (kept := [r for t in c.trials if (r := t.trained_retention) is not None])
    ]
    if len(rows) < FEWEST:
        return ()
    losses = [first.loss for _, first, _ in rows if first.loss is not None]
    shares = np.array([loss.normalised for loss in losses])
    kinds = [loss.logits if loss.beta else "none" for loss in losses]
    rates = np.log2([first.learning_rate or 1.0 for _, first, _ in rows])
    names, block = np.unique([_block(first) for _, first, _ in rows], return_inverse=True)
    intercepts = np.eye(len(names))[block]
    clusters = np.array([key for key, *_ in rows])
    columns = _columns(shares, kinds, rates)
    kept_columns = estimable(columns, clusters, intercepts)
    design = np.column_stack([intercepts, columns[:, kept_columns]])
    degrees = len(rows) - design.shape[1]
    if not kept_columns or degrees < DEGREES:
        return ()
    values = np.array([value for *_, value in rows])
    fit = fitted(design, values)
    labels = np.unique(clusters)
    moved = without_each(design, values, clusters, labels, fit)[:, len(names) :]
    moved -= moved.mean(axis=0)
    curves = []
    for term, place in TERMS.items():
        own = shares[:, place]
        if np.ptp(own) < 0.1:
            continue
        grid = np.linspace(own.min(), own.max(), POINTS)
        means = [_columns(_with(shares, place, s), kinds, rates).mean(axis=0) for s in grid]
        contrasts = np.array(means)[:, kept_columns] - means[0][kept_columns]
        middle = contrasts @ fit[len(names) :]
        spread = np.square(contrasts @ moved.T).sum(axis=1) * (len(labels) - 1) / len(labels)
        half = t_factor(degrees) * np.sqrt(spread)
        curves.append(
            WeightCurve(
                term=term,
                shares=tuple(grid.tolist()),
                points=tuple(middle.tolist()),
                low=tuple((middle - half).tolist()),
                high=tuple((middle + half).tolist()),
                trials=int(np.count_nonzero(own)),
            )
        )
    return tuple(curves)


def _columns(shares: Floats, kinds: Sequence[str], rates: Floats) -> Floats:
    """[N, K] the columns of the model but its intercepts."""
    _, b, g = shares.T
    counts = Counter(kind for kind in kinds if kind != "none")
    others = [kind for kind, _ in counts.most_common()[1:]]
    by_kind = [b * np.array([kind == other for kind in kinds]) for other in others]
    found: Floats = np.column_stack([b, g, b * b, g * g, b * g, *by_kind, rates])
    return found


def _with(shares: Floats, place: int, share: float) -> Floats:
    """[N, 3] the shares with one of the last two set; cross-entropy gives way, then the other."""
    found = shares.copy()
    other = 3 - place
    found[:, place] = share
    found[:, other] = np.minimum(found[:, other], 1 - share)
    found[:, 0] = 1 - found[:, 1] - found[:, 2]
    return found


def _block(trial: Trial) -> str:
    recovery = trial.record.spec.recovery
    share = math.log2(recovery.data_fraction)
    return f"{trial.method} {trial.ratio_target:.4f} {recovery.scope} {share:.3f}"
