"""The point of a cell that promises the most hypervolume, by a model that knows the cell.

Gaussian processes have learned each objective and limit from the trials of all cells, with the cell
among their inputs: so what a rate or a mixture is worth in one cell is believed in the next, as far
as it was not seen to differ there. Of many points of the cell the one is taken that has the largest
expected hypervolume improvement (Daulton et al., 2006.05078, in closed form, as the objectives are
independent) over what the cell has, times the chance that it keeps the limits. Running trials count
as if they came out as expected, stopped ones as if their scores at the rung were their last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import norm

from analysis.axes import Axis
from search_spaces.factors import Cell
from search_spaces.spaces import Space
from sweeps.engine.search.encoding import Encoder, Points, leaves
from sweeps.engine.search.history import (
    MARGIN,
    Floats,
    Prior,
    Without,
    most_telling,
    standardised,
)
from sweeps.engine.search.observations import Observation, cell_id
from sweeps.engine.search.process import Process, results_fitted
from trainables.specs import TrialSpec

POINTS, BEST, AROUND = 512, 8, 32  # random points; around each of the best of them so many more
MOST_RUNNING = 64  # that count


def choose(
    space: Space,
    cell: Cell,
    base: TrialSpec,
    observations: Sequence[Observation],
    *,
    seed: int,
    startup: int,
    without: Without,
    objectives: Sequence[Axis],
    prior: Sequence[Prior],
) -> dict[str, Any]:
    """The searched factors of the next trial of a cell; see `sampler.propose`.

    Args:
        space: the search space.
        cell: the stratified factors.
        base: the base of the trial.
        observations: of the sweep.
        seed: of the points that are compared.
        startup: completed trials, and those of the prior, which there are at least.
        without: choices that are not offered.
        objectives: what the observations have reached.
        prior: trials of other sweeps, and their objectives.
    """
    rng, here = np.random.default_rng(seed), cell_id(cell)
    offered = [leaf for leaf in leaves(space, here, base) if leaf.keeps_off(without)]
    running = [o for o in observations if o.state == "running"][-MOST_RUNNING:]
    known, fitted = _lessons(observations, prior, objectives, startup)
    trials = [*(o for o, _ in (*known, *fitted)), *running]
    asked = [(cell, leaf.distributions) for leaf in offered]
    encoder = Encoder([*asked, *((o.cell, o.distributions) for o in trials)])
    points = Points(offered, cell, encoder)
    places, rows = points.random(rng, POINTS)
    processes = _processes(known, fitted, encoder.of(running), objectives, encoder)
    mine = [o for o in (*(o for o, _ in known), *running) if o.cell_id == here]
    promise = _Promise(processes, len(objectives), encoder.of(mine), rows)
    worth = promise.of_reach
    best = np.argsort(-worth, kind="stable")[:BEST].repeat(AROUND)
    near = points.around(rng, places[best], rows[best])
    places, rows = np.concatenate([places, places[best]]), np.concatenate([rows, near])
    chosen = int(np.argmax(np.concatenate([worth, promise(near)])))
    return points.params(places[chosen], rows[chosen])


def _lessons(
    observations: Sequence[Observation],
    prior: Sequence[Prior],
    objectives: Sequence[Axis],
    startup: int,
) -> tuple[list[Prior], list[Prior]]:
    """The trials that are learned from, and those that the processes' lengths are fitted to."""
    results = _results(observations, objectives)
    kept = most_telling([o for o, _ in results], [told for _, told in results], objectives)
    known = [*(results[i] for i in kept), *prior]
    first = sorted((o for o, _ in results if o.state == "completed"), key=lambda o: o.ended)
    first = first[: results_fitted(len(first), startup)]
    return known, _results(first, objectives) if len(first) >= startup else known


def _results(observations: Sequence[Observation], objectives: Sequence[Axis]) -> list[Prior]:
    """The trials that have a result, and their objectives; a stopped one's are its rung's."""
    ended = [
        replace(o, state="completed") if o.state == "early_stopped" else o for o in observations
    ]
    told = standardised(ended, objectives)
    return [(o, each) for o, each in zip(observations, told, strict=True) if each is not None]


def _processes(
    known: Sequence[Prior],
    fitted: Sequence[Prior],
    running: Floats,
    objectives: Sequence[Axis],
    encoder: Encoder,
) -> list[Process]:
    """What is believed of each objective, to be low, and then of the excess of each limit."""
    limits = sorted({name for o, _ in known for name in o.excess})
    (rows, values), (fitted_rows, fitted_values) = (
        (encoder.of([o for o, _ in each]), _quantities(each, objectives, limits))
        for each in (known, fitted)
    )
    found = []
    for k in range(values.shape[1]):
        there, then = np.isfinite(values[:, k]), np.isfinite(fitted_values[:, k])
        fit = (fitted_rows[then], fitted_values[then, k])
        found.append(Process(rows[there], values[there, k], fit, running))
    return found


def _quantities(
    results: Sequence[Prior], objectives: Sequence[Axis], limits: Sequence[str]
) -> Floats:
    """[trials, objectives and limits], all of them to be low; NaN where a trial does not tell."""
    table = np.full((len(results), len(objectives) + len(limits)), np.nan)
    for i, (observation, told) in enumerate(results):
        for k, axis in enumerate(objectives):
            higher = axis.better == "higher"
            if told is not None and (higher or observation.state != "early_stopped"):
                table[i, k] = -told[k] if higher else told[k]  # a rung has not cost what an end has
        for k, name in enumerate(limits, start=len(objectives)):
            beyond = observation.excess.get(name)
            table[i, k] = np.nan if beyond is None else beyond
    return table


class _Promise:
    """Expected hypervolume improvement over some points, times the chance to keep the limits.

    Args:
        processes: of the objectives, to be low, and then of the excess of the limits.
        count: of the objectives.
        mine: the points [n, columns] that are to be improved on.
        reach: points [n, columns]; the worst of them lies just within the hypervolume.

    Attributes:
        of_reach: what those promise, [n].
    """

    def __init__(self, processes: list[Process], count: int, mine: Floats, reach: Floats) -> None:
        self._objectives, self._limits = processes[:count], processes[count:]
        expected, ahead = self._expected(mine)[0], self._expected(reach)
        worst = np.vstack([expected, ahead[0]]).max(axis=0) + MARGIN
        kept = [process(mine)[0] <= 0 for process in self._limits] if len(mine) else []
        front = expected[np.logical_and.reduce(kept)] if kept else expected
        self._boxes = _boxes(front, worst)
        self.of_reach = self._worth(reach, *ahead)

    def _expected(self, rows: Floats) -> tuple[Floats, Floats]:
        if not len(rows):
            return np.zeros((0, len(self._objectives))), np.zeros((0, len(self._objectives)))
        means, errors = zip(*(process(rows) for process in self._objectives), strict=True)
        return np.stack(means, axis=1), np.stack(errors, axis=1)

    def __call__(self, rows: Floats) -> Floats:
        """What these points [n, columns] promise, [n]."""
        return self._worth(rows, *self._expected(rows))

    def _worth(self, rows: Floats, means: Floats, errors: Floats) -> Floats:
        mean, error = means[:, None, :], errors[:, None, :]

        def below(bound: Floats) -> Floats:
            """The expected length below each bound [boxes, objectives] that a point adds."""
            with np.errstate(invalid="ignore"):
                z = (bound - mean) / error
                length = (bound - mean) * norm.cdf(z) + error * norm.pdf(z)
            return np.where(np.isneginf(bound), 0.0, length)

        lower, upper = self._boxes
        worth = np.prod(below(upper) - below(lower), axis=-1).sum(axis=-1)
        for process in self._limits:
            excess, off = process(rows)
            worth = worth * norm.cdf(-excess / off)
        return np.asarray(worth)


def _boxes(front: Floats, worst: Floats) -> tuple[Floats, Floats]:
    """(lower, upper) bounds [boxes, objectives] of what no point of the front dominates."""
    from optuna._hypervolume.box_decomposition import get_non_dominated_box_bounds

    if len(worst) > 1 and len(front):
        lower, upper = get_non_dominated_box_bounds(front, worst)
        return lower, upper
    return np.full((1, len(worst)), -np.inf), np.vstack([front, worst]).min(axis=0, keepdims=True)
