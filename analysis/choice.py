"""What is known of models among which one is chosen: intervals and estimates that allow for it.

The frontier, `recommend` and a reader choose by the scores that are quoted, and the best of many
noisy scores flatters: of 20 equal models it looks 1.9 points too good, and its own 95 % interval
holds the truth in 71 % (`tests/benchmarks/statistics.py`).

Intervals are therefore wider: those of all N models hold together (Bonferroni, Student's), so that
that of the chosen one does, however it was chosen. They are the record's bootstrap intervals,
stretched by the ratio of the two quantiles.

Estimates are shrunk towards what models of this sweep are like: the posterior mean under the prior
that makes the scores most likely, whatever its form (empirical Bayes with the nonparametric maximum
likelihood estimate of Kiefer and Wolfowitz, 1956; that such means need no correction for selection:
Efron, Journal of the American Statistical Association 106, 2011). Equal models come out equal, a
lone one far from all others stays where it is. The error that counts is a model's own: what all
models lose on hard questions is no reason to choose one of them.

Both hold the choice of questions, not the seeds of the training.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from analysis.contrasts import t_factor
from analysis.load import Trial
from analysis.samples import paired_influences
from trainables.records.clusters import Floats
from trainables.specs import Split

ATOMS = 400  # of the prior: the values themselves up to so many, else a grid
ALIKE = 5.0  # errors within which models score alike
ROUNDS = 50  # of expectation and maximisation: 0.4 s for 10,000 values; more change little
READ = 512  # models whose questions are read, 10 ms each; of more the errors count as their own


class Quoted(TypedDict):
    """A retention as a point quotes it: shrunk, and the ends of its simultaneous interval."""

    retention_corrected: float
    retention_low: float
    retention_high: float


def quoted(trials: Sequence[Trial], split: Split) -> dict[str, Quoted]:
    """What to quote of each of the N models that may be chosen by `split`, by id.

    These are all completed trials with scores there, but repeats; the dense base, whose retention
    is 1 by definition, is none.
    """
    rivals = [t for t in trials if _may_be_chosen(t, split)]
    reports = [e for t in rivals if (e := t.evaluation(split)) is not None]
    if not rivals:
        return {}
    values = np.array([e.retention for e in reports], dtype=np.float64)
    ends = np.array([e.retention_interval for e in reports])
    images = [max((t.images or 0 for t in e.tasks.values()), default=0) for e in reports]
    stretch = {n: _stretch(n, len(rivals)) for n in set(images)}
    widths = np.array([stretch[n] for n in images])[:, None] * (ends - values[:, None])
    lowest, highest = np.maximum(values[:, None] + widths, 0.0).T
    errors = steadied(values, own_errors(rivals, split))
    corrected = np.clip(shrunken(values, errors), lowest, highest)
    rows = np.stack([corrected, lowest, highest], axis=1).tolist()
    return {
        t.trial_id: Quoted(retention_corrected=middle, retention_low=low, retention_high=high)
        for t, (middle, low, high) in zip(rivals, rows, strict=True)
    }


def _may_be_chosen(trial: Trial, split: Split) -> bool:
    scores = trial.evaluation(split)
    completed = trial.record.status == "completed" and not trial.is_confirmation
    return completed and scores is not None and scores.retention is not None


def _stretch(images: int, among: int) -> float:
    """Half width of one of `among` intervals that hold together over that of one alone."""
    degrees = images - 1 if images > 1 else np.inf
    return t_factor(degrees, among) / t_factor(degrees)


def own_errors(trials: Sequence[Trial], split: Split) -> Floats:
    """[N] standard errors of the retentions, without what the models share.

    Where models answered the same questions it is that of the difference from their mean, of one
    that is none of them; else, and where that is larger, that of the difference from the dense
    base.
    """
    errors = np.array([trial.retention(split)[1] or 0.0 for trial in trials])
    groups = paired_influences(trials, split) if len(trials) <= READ else []
    for members, sums in groups:
        count, images = sums.shape
        apart = np.square(sums - sums.mean(axis=0)).sum(axis=1)
        own = np.sqrt(images / (images - 1) * count / (count - 1) * apart)
        errors[members] = np.minimum(errors[members], own)
    return errors


def steadied(values: Floats, errors: Floats) -> Floats:
    """[N] the errors, each that of the models that score alike, within half of itself.

    Of equal models the best looks surest as well, because it erred on the fewest questions; taken
    as it is, its error would hide a third of its luck.
    """
    order = np.argsort(values)
    sums = np.concatenate([[0.0], np.square(errors[order]).cumsum()])
    first = np.searchsorted(values[order], values - ALIKE * errors)
    last = np.searchsorted(values[order], values + ALIKE * errors, side="right")
    pooled = np.sqrt((sums[last] - sums[first]) / (last - first))
    found: Floats = np.clip(pooled, errors / 1.5, errors * 1.5)
    return found


def shrunken(values: Floats, errors: Floats) -> Floats:
    """[N] posterior means of what `values` measure with normal `errors`; exact ones stay.

    The prior has its mass on the values, or on a grid over their range where they are many; its
    weights are those of the largest likelihood, found by expectation and maximisation.
    """
    if len(values) < 2 or not errors.any():
        return values
    few = len(values) <= ATOMS
    atoms = values if few else np.linspace(values.min(), values.max(), ATOMS)
    smallest = 1e-9 + np.ptp(values) / 1e6  # exact values, too, come from some atom
    away = (values[:, None] - atoms) / np.maximum(errors, smallest)[:, None]
    logs = -np.square(away) / 2
    likelihoods = np.exp(logs - logs.max(axis=1, keepdims=True))  # [N, A], each up to a factor
    weights = np.full(len(atoms), 1 / len(atoms))
    for _ in range(ROUNDS):
        weights *= likelihoods.T @ (1 / (likelihoods @ weights)) / len(values)
    mean = likelihoods @ (weights * atoms) / (likelihoods @ weights)
    found: Floats = np.where(errors > 0, mean, values)
    return found
