"""What a search of loss coefficients has found: effects, the best mixture, and its equals.

Two questions, two sets of scores. The *effects* of terms and coefficients are read from every trial
on the search split: all answered the same questions, and nothing is chosen. The *best* mixture is
read from the repeats with other seeds on the report split alone, which the search has not seen; it
is the best of several, which its interval and its estimate allow for (`analysis/choice.py`).
"""

import math
from collections.abc import Sequence

import numpy as np

from analysis.choice import shrunken
from analysis.contrasts import (
    Effect,
    all_pairs_factor,
    paired_layout,
    regression,
    t_factor,
)
from analysis.effects.configurations import Configuration, configurations, question_errors
from analysis.load import Trial
from trainables.records.clusters import Floats
from trainables.specs import HIDDEN_LOSSES, LOGITS_LOSSES, Frozen, LossSpec

METHOD = (
    "Least squares of search-split retention (points) on which terms are active and on the log2 of "
    "their weight ratios; 95 % intervals by a jackknife over configurations, Student's t. A term's "
    "effect is that of adding it at equal weight, a ratio's that of doubling it. The intervals "
    "hold configurations and seeds; the questions are the same throughout."
)
RULE = (
    "Mixtures are compared on the report split over the seeds of the confirm stage, paired by seed "
    "and question. The standard error of a difference joins the noise over seeds (what is left "
    "after mixture and seed, pooled) and the choice of questions (clustered by image). A mixture "
    "cannot be told apart from the best when their difference is below Tukey's simultaneous 95 % "
    "margin. Intervals hold for all mixtures together, over seeds and questions; retentions are "
    "corrected for the choice of the best."
)


class MixturePoint(Frozen):
    """One configuration: normalised weights and mean search-split retention of its `runs` trials.

    `logits` and `hidden` name the distillation terms, `none` where there is none; `origin` is that
    of the search's trial.
    """

    trial_id: str
    terms: str
    logits: str
    hidden: str
    alpha: float
    beta: float
    gamma: float
    origin: str
    runs: int
    search_retention: float


class ConfirmedMixture(Frozen):
    """A mixture that was repeated: mean report-split retention over `seeds`, with its interval.

    The intervals of all of them hold together, since the best is one of many, and `corrected` is
    the mean without what that choice adds. `behind` is how far it lies behind the best; up to
    `margin` the two cannot be told apart.
    """

    point: MixturePoint
    seeds: int
    retention: float
    corrected: float
    low: float
    high: float
    behind: float
    margin: float
    tied: bool


class MixtureReport(Frozen):
    """The outcome of a sweep over loss coefficients; retentions are fractions, effects points.

    Attributes:
        points: every configuration, by falling retention on the search split.
        effects: of terms and weight ratios, in points of retention.
        confirmed: the mixtures that were repeated, the best first; empty before the confirm stage.
        seed_deviation: of retention, what is left after mixture and seed.
        questions: whether the choice of questions is part of the margins.
    """

    sweep: str
    points: tuple[MixturePoint, ...] = ()
    effects: tuple[Effect, ...] = ()
    confirmed: tuple[ConfirmedMixture, ...] = ()
    seed_deviation: float | None = None
    questions: bool = False
    method: str = METHOD
    rule: str = RULE

    @property
    def best(self) -> ConfirmedMixture | None:
        """The best mixture; None before the confirm stage."""
        return self.confirmed[0] if self.confirmed else None

    @property
    def tied(self) -> tuple[ConfirmedMixture, ...]:
        """The other mixtures that cannot be told apart from the best."""
        return tuple(m for m in self.confirmed[1:] if m.tied)


def mixture_report(trials: Sequence[Trial]) -> MixtureReport:
    """The outcome of the trials of one sweep; what cannot be said yet is empty."""
    found = [c for c in configurations(trials) if c.first.loss is not None]
    points = {c.key: _point(c) for c in found}
    confirmed, deviation, questions = _confirmed(found, points)
    return MixtureReport(
        sweep=trials[0].record.sweep if trials else "",
        points=tuple(sorted(points.values(), key=lambda p: (-p.search_retention, p.trial_id))),
        effects=coefficient_effects(found),
        confirmed=confirmed,
        seed_deviation=deviation,
        questions=questions,
    )


def coefficient_effects(found: Sequence[Configuration]) -> tuple[Effect, ...]:
    """Effects of active terms and of the log2 ratios of their weights, in points of retention."""
    seen = [
        (configuration.key, _features(trial.loss), retention)
        for configuration in found
        for trial in configuration.trials
        if trial.loss is not None and (retention := trial.trained_retention) is not None
    ]
    if not seen:
        return ()
    clusters, rows, values = zip(*seen, strict=True)
    names = set().union(*rows)
    terms = [t for t in ("ce", *LOGITS_LOSSES, *HIDDEN_LOSSES) if t in names]
    ratios = sorted(names.difference(terms))
    columns = np.array([[row.get(name, 0.0) for name in (*terms, *ratios)] for row in rows])
    labels = [*(f"{t} active" for t in terms), *ratios]
    return regression(labels, columns, 100 * np.array(values), clusters)


def _features(loss: LossSpec) -> dict[str, float]:
    """1 for each active term; log2 of the weight of each distillation term over the first term."""
    letters = {"ce": "alpha", loss.logits: "beta", loss.hidden: "gamma"}
    (first, weight), *others = loss.weights.items()
    return dict.fromkeys(loss.weights, 1.0) | {
        f"log2 {letters[name]}/{letters[first]}": math.log2(other / weight)
        for name, other in others
    }


def _point(configuration: Configuration) -> MixturePoint:
    first = configuration.first
    assert first.loss is not None
    alpha, beta, gamma = first.loss.normalised
    return MixturePoint(
        trial_id=first.trial_id,
        terms=first.loss.terms,
        logits=first.loss.logits if beta else "none",
        hidden=first.loss.hidden if gamma else "none",
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        origin=first.record.origin,
        runs=len(configuration.trials),
        search_retention=configuration.mean("search"),
    )


def _confirmed(
    found: Sequence[Configuration], points: dict[str, MixturePoint]
) -> tuple[tuple[ConfirmedMixture, ...], float | None, bool]:
    """The repeated mixtures by falling mean, over the seeds that all of them have completed.

    With them the noise over seeds, and whether the choice of questions is part of the margins. A
    mixture of which fewer than two repeats came through is left out, rather than leaving all others
    without a comparison.
    """
    repeated = [c for c in found if len(c.confirmations) >= 2]
    seeds = sorted(set.intersection(*(set(c.confirmations) for c in repeated))) if repeated else []
    if len(repeated) < 2 or len(seeds) < 2:
        return (), None, False
    groups = [[c.confirmations[seed] for seed in seeds] for c in repeated]
    values = np.array([[t.retention("report")[0] for t in group] for group in groups], dtype=float)
    layout = paired_layout(values)
    errors = question_errors(groups)
    from_questions: Floats = np.zeros((len(groups),) * 2) if errors is None else errors
    best = int(np.argmax(layout.means))
    simultaneous = all_pairs_factor(len(groups), layout.degrees)
    own = t_factor(len(groups) * (layout.seeds - 1), among=len(groups))
    # What is a mixture's own: half of the variance of its differences from the others.
    alone = np.square(from_questions).sum(axis=1) / (2 * (len(groups) - 1))
    errors_of_means = np.sqrt(layout.deviation**2 / layout.seeds + alone)
    corrected = shrunken(np.array(layout.means), errors_of_means).tolist()
    rows = []
    for at, (mean, group) in enumerate(zip(layout.means, groups, strict=True)):
        asked = float(np.mean([t.retention("report")[1] or 0.0 for t in group]))
        half = own * math.hypot(layout.within / math.sqrt(layout.seeds), asked)
        noise = math.sqrt(2 / layout.seeds) * layout.deviation
        margin = simultaneous * math.hypot(noise, from_questions[best, at]) if at != best else 0.0
        behind = layout.means[best] - mean
        rows.append(
            ConfirmedMixture(
                point=points[repeated[at].key],
                seeds=layout.seeds,
                retention=mean,
                corrected=corrected[at],
                low=mean - half,
                high=mean + half,
                behind=behind,
                margin=margin,
                tied=behind <= margin,
            )
        )
    rows.sort(key=lambda row: -row.retention)
    return tuple(rows), layout.deviation, errors is not None
