"""Simulated sweeps whose truth is known, judged by the product's own functions.

Models answer questions about images. Whether an answer is right depends on how hard the image and
the question are, which all models share, and on the model's own luck with both; models of equal
skill differ by luck alone. Each model's answers become a score table and a closing report in a
ledger, and `find_frontier` and `recommend` say what they would of a real sweep. *Before* is what
both once said: intervals of 95 % pair by pair, each trial's own interval, and its own score.

Latencies: all models are equally fast, and measurements of them vary by 5 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

sys.path.append(str(Path(__file__).parents[1]))

from helpers.trials import make_dense, make_trial

from analysis.frontier import find_frontier
from analysis.load import Trial, trial_of
from analysis.recommend import recommend
from trainables.evaluation.scoring import report
from trainables.records import REPORT_SAMPLES
from trainables.records.clusters import Floats, image_sums
from trainables.records.score_table import ScoreTable, TaskSamples

Places = NDArray[np.bool_]
IMAGES, EACH = 100, 10  # questions about each image
SHARED = (0.3, 0.3)  # of the variance of an answer's latent value: its image's, its question's
LUCK = 0.1  # of it: the model's own with the image; the rest is its own with the question
DENSE = 0.95  # the dense base's share of right answers
JITTER = 0.05  # standard deviation of a measured latency, as a share


CASES: dict[str, tuple[str, Floats]] = {  # the axis, and the true retentions by rising size
    "21 equal models": ("weights_mib", np.full(21, 0.95)),
    "20 equal models": ("weights_mib", np.full(20, 0.95)),
    "5 equal models": ("weights_mib", np.full(5, 0.95)),
    "20, retention rises by 5 points": ("weights_mib", np.linspace(0.90, 0.95, 20)),
    "20, retention falls by 5 points": ("weights_mib", np.linspace(0.95, 0.90, 20)),
    "20, one is 2 points better": ("weights_mib", np.r_[np.full(10, 0.93), 0.95, np.full(9, 0.93)]),
    "10 equally fast, 18 points apart": ("latency_ms", np.linspace(0.80, 0.98, 10)),
}


@dataclass
class Outcome:
    """One sweep: whether a sure word was wrong, and what was quoted of the recommended trial.

    Each before and now; `errors` in points, `held` whether the interval holds the truth.
    `front_held` are the frontier's intervals that hold the truth, of `front`.
    """

    wrong: tuple[bool, bool]
    errors: tuple[float, float]
    held: tuple[bool, bool]
    front_held: int
    front: int


def answers(rng: np.random.Generator, skills: Sequence[float]) -> list[ScoreTable]:
    """A table per model; `skills` are shares of right answers in the long run."""
    images = np.arange(IMAGES * EACH) // EACH
    hard = np.sqrt(SHARED[0]) * rng.normal(size=IMAGES)[images]
    hard += np.sqrt(SHARED[1]) * rng.normal(size=len(images))
    tables = []
    for skill in skills:
        own = np.sqrt(LUCK) * rng.normal(size=IMAGES)[images]
        own += np.sqrt(1 - sum(SHARED) - LUCK) * rng.normal(size=len(images))
        tables.append(
            ScoreTable({
                "simulated": TaskSamples(
                    doc_ids=tuple(range(len(images))),
                    image_ids=tuple(f"i{image}" for image in images),
                    scores=100.0 * (hard + own < stats.norm.ppf(skill)),
                    weights=np.ones(len(images)),
                    answers=("",) * len(images),
                )
            })
        )  # fmt: skip
    return tables


def closed(trial: Trial, table: ScoreTable, dense: ScoreTable | None, folder: Path) -> Trial:
    """The trial with these answers on the report split, and its folder."""
    assert trial.report is not None
    home = folder / trial.trial_id
    home.mkdir()
    table.save(home / REPORT_SAMPLES)
    scores = report("report", table, dense)
    return trial_of(trial.record, trial.report.model_copy(update={"evaluation": scores}), home)


def sweep_of(rng: np.random.Generator, retentions: Floats, folder: Path) -> list[Trial]:
    """A closed sweep: the dense base, then models by rising size with these true retentions."""
    base, *tables = answers(rng, [DENSE, *(DENSE * r for r in retentions)])

    def jittered() -> float:
        return float(40 * np.exp(JITTER * rng.normal()))

    found = [closed(make_dense(report=1.0, latency_ms=jittered()), base, None, folder)]
    for place, table in enumerate(tables):
        made = make_trial(
            f"t{place:02}", 0.9, report=0.9, weights_mib=1.0 + place / 8, latency_ms=jittered(),
            ratio=0.7 - place / 64,
        )  # fmt: skip
        found.append(closed(made, table, base, folder))
    return [with_dense_latency(trial, jittered()) for trial in found]


def with_dense_latency(trial: Trial, ms: float) -> Trial:
    """The trial, with that latency of the dense base beside it."""
    assert trial.report is not None
    assert trial.report.latency is not None
    latency = trial.report.latency.model_copy(update={"dense_median_ms": ms})
    return replace(trial, report=trial.report.model_copy(update={"latency": latency}))


def sure_before(costs: Floats, retention: Floats, sums: Floats, front: Places) -> Places:
    """[N] whether a place was called `certain`: pair by pair, costs taken as exact."""
    count = sums.shape[1]
    quantile = stats.t.ppf(0.975, count - 1)
    found = np.zeros(len(costs), dtype=bool)
    for p in range(len(costs)):
        rivals = [q for q in range(len(costs)) if q != p and costs[q] <= costs[p]]
        told = []
        for q in rivals:
            half = quantile * np.sqrt(count / (count - 1) * np.square(sums[p] - sums[q]).sum())
            told.append((retention[p] - retention[q]) * (1 if front[p] else -1) > half)
        found[p] = all(told) if front[p] else any(told)
    return found


def any_wrong(sure: Places, front: Places, costs: Floats, truth: Floats) -> bool:
    """Whether a sure word is wrong, given true costs and retentions."""
    for p in np.flatnonzero(sure):
        rivals = truth[(costs <= costs[p]) & (np.arange(len(costs)) != p)]
        if (rivals >= truth[p]).any() if front[p] else not (rivals > truth[p]).any():
            return True
    return False


def judged(trials: list[Trial], truths: Floats, axis: str) -> Outcome:
    """What the product says of a sweep, and what it said."""
    front = find_frontier(trials, axis)
    points = {p.trial_id: p for p in (*front.points, *front.dominated)}
    ranked = [points[t.trial_id] for t in trials]
    truth = np.r_[1.0, truths]
    costs = np.array([t.axes[axis] for t in trials], dtype=float)
    true_costs = np.zeros(len(costs)) if axis == "latency_ms" else costs

    tables = [ScoreTable.load(t.folder / REPORT_SAMPLES) for t in trials if t.folder]
    retention = np.array([p.retention for p in ranked])
    influences = np.stack([t.influences for t in tables]) / tables[0].average
    below = (costs <= costs[:, None]) & (retention > retention[:, None])
    first = ~below.any(axis=1)
    before = sure_before(costs, retention, image_sums(tables[0].images, influences)[1], first)
    now = np.array([p.standing != "within noise" for p in ranked])
    reached = np.array([p.trial_id in front.trial_ids for p in ranked])

    true = {t.trial_id: float(r) for t, r in zip(trials, truth, strict=True)}
    chosen = recommend(trials).trial
    assert chosen is not None
    own = next(t.evaluation("report") for t in trials if t.trial_id == chosen.trial_id)
    assert own is not None
    low, high = own.retention_low or 0.0, own.retention_high or 0.0
    quoted = [p for p in front.points if p.trial_id != "dense"]
    right = true[chosen.trial_id]
    return Outcome(
        wrong=(
            any_wrong(before, first, true_costs, truth),
            any_wrong(now, reached, true_costs, truth),
        ),
        errors=(
            100 * (chosen.retention - right),
            100 * (chosen.retention_corrected - right),
        ),
        held=(low <= right <= high, chosen.retention_low <= right <= chosen.retention_high),
        front_held=sum(p.retention_low <= true[p.trial_id] <= p.retention_high for p in quoted),
        front=len(quoted),
    )


def main() -> None:
    """Print the table, a case at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=400)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    given = parser.parse_args()
    print("| case | sure words wrong | best is quoted, points | its interval holds | frontier's |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in given.cases:
        (axis, truths), found = CASES[name], []
        for seed in range(given.sweeps):
            rng = np.random.default_rng([seed, len(name)])
            with tempfile.TemporaryDirectory() as folder:
                found.append(judged(sweep_of(rng, truths, Path(folder)), truths, axis))
        wrong, errors, held = (
            np.mean([getattr(o, what) for o in found], axis=0)
            for what in ("wrong", "errors", "held")
        )
        share = sum(o.front_held for o in found) / max(1, sum(o.front for o in found))
        print(
            f"| {name} | {wrong[0]:.1%} -> {wrong[1]:.1%} | {errors[0]:+.2f} -> {errors[1]:+.2f} "
            f"| {held[0]:.1%} -> {held[1]:.1%} | {share:.1%} |",
            flush=True,
        )
    print(f"(before -> now; {given.sweeps} sweeps a case)")
