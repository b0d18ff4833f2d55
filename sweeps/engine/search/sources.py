"""What a sweep may learn from the ledgers of earlier sweeps (`SweepSpec.learn_from`).

A source's finished trials are told to the study beside the sweep's own, standardised within their
own cells. How many depends on what they are worth: the source predicts the first score among the
objectives of the sweep's own trials from its nearest ones, and the rank correlation rho of the n
comparable predictions is drawn to a prior belief,

    trust = max(0, (BELIEF * PRIOR_RHO + n * rho) / (BELIEF + n)),

of which own results take over a share n / (n + HALF); that weight is also the chance that a
proposal is the source's point that adds most to its cell. A source whose ranks disagree falls
silent after a few trials.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.axes import Axis
from search_spaces.factors import Cell
from search_spaces.spaces import Space
from search_spaces.suggesters import PointTrial
from sweeps.engine.search.history import Prior, Told, most_telling, standardised
from sweeps.engine.search.observations import Observation, by_cell, cell_id, outcome
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request
from sweeps.engine.spec.loading import BadInputError
from trainables.common.copies import pull
from trainables.common.names import unknown
from trainables.records import REQUEST
from trainables.specs import TrialSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution

MOST_TOLD = 50  # trials of a source that is trusted fully, before there are own results
BELIEF, PRIOR_RHO = 4.0, 0.6  # so many own results weigh as much as the belief before them
HALF = 40  # own results at which a source counts half
NEAREST = 5  # trials that predict another


@dataclass(frozen=True)
class Source:
    """The finished trials of one earlier sweep, as points of today's space."""

    name: str
    observations: tuple[Observation, ...]
    objectives: tuple[Axis, ...]

    @functools.cached_property
    def scaled(self) -> list[Told]:
        """Their objectives, compared within the source."""
        return standardised(self.observations, self.objectives)

    def weight(self, own: Sequence[Observation]) -> float:
        """What the source is worth beside these trials of the sweep, 0 to 1."""
        comparable, rho = self._agreement(self._compared(own))
        trust = max(0.0, (BELIEF * PRIOR_RHO + comparable * rho) / (BELIEF + comparable))
        return trust * HALF / (HALF + comparable)

    def best_for(self, cell: Cell, own: Sequence[Observation]) -> dict[str, Any] | None:
        """The point that adds the most to what was tried in a cell, as the source sees both.

        That is the hypervolume that its smoothed objectives add to those that it predicts for the
        trials of the cell. None if nothing does.
        """
        import moocore

        mine = cell_id(cell)
        tried = np.array([self._predicted(o) for o in own if o.cell_id == mine]).reshape(
            -1, len(self.objectives)
        )
        higher = [axis.better == "higher" for axis in self.objectives]
        corner = np.where(higher, self._smoothed.min(axis=0), self._smoothed.max(axis=0))

        def area(points: NDArray[np.float64]) -> float:
            return float(moocore.hypervolume(points, ref=corner, maximise=higher))

        least = area(tried) if len(tried) else 0.0
        more = [area(np.vstack([tried, point])) - least for point in self._smoothed]
        best = int(np.argmax(more))
        return dict(self.observations[best].params) if more[best] > 1e-9 else None

    def told(self, own: Sequence[Observation]) -> list[Prior]:
        """The trials to tell the study, and their objectives, once the sweep has these trials.

        Costs are shifted by the median difference to the sweep's own, which come of another model
        or other data.
        """
        count = round(MOST_TOLD * self.weight(own))
        chosen: list[int] = []
        if count >= NEAREST:
            chosen = most_telling(self.observations, self.scaled, self.objectives, count)
        off = np.array([np.subtract(t, self._predicted(o)) for o, t in self._compared(own)])
        lower = [axis.better == "lower" for axis in self.objectives]
        shift = np.where(lower, np.median(off, axis=0), 0.0) if len(off) else np.zeros(len(lower))
        return [
            (self.observations[i], tuple(np.add(self.scaled[i] or (), shift).tolist()))
            for i in chosen
        ]

    def _compared(self, own: Sequence[Observation]) -> list[tuple[Observation, tuple[float, ...]]]:
        done = [o for o in own if o.values is not None]
        scaled = standardised(done, self.objectives)
        return [(o, told) for o, told in zip(done, scaled, strict=True) if told is not None]

    def _agreement(
        self, pairs: Sequence[tuple[Observation, tuple[float, ...]]]
    ) -> tuple[int, float]:
        """How many own results compare within their cell, and Spearman's correlation of those."""
        from scipy.stats import rankdata

        better = [axis.better for axis in self.objectives]
        first = better.index("higher") if "higher" in better else 0
        both = np.array([(told[first], self._predicted(o)[first]) for o, told in pairs])
        several = [both[rows] for rows in by_cell(o for o, _ in pairs) if len(rows) > 1]
        count = sum(len(found) - 1 for found in several)
        # Within cells: the source knows nothing of how its own cells would rank among today's.
        centred = [found - found.mean(axis=0) for found in several]
        if count < 3:
            return 0, 0.0
        ranks = rankdata(np.concatenate(centred), axis=0)
        if ranks.std(axis=0).min() == 0:
            return count, 0.0
        return count, float(np.corrcoef(ranks.T)[0, 1])

    def _predicted(self, observation: Observation) -> tuple[float, ...]:
        """Standardised objectives of a point: the mean of the nearest trials'."""
        key = tuple(sorted(observation.params.items()))
        if key not in self._predictions:
            near = sorted(
                (_distance(observation, other), i)
                for i, other in enumerate(self.observations)
                if self.scaled[i] is not None
            )[:NEAREST]
            mean = np.mean([self.scaled[i] or () for _, i in near], axis=0)
            self._predictions[key] = tuple(mean.tolist())
        return self._predictions[key]

    @functools.cached_property
    def _smoothed(self) -> NDArray[np.float64]:
        return np.array([self._predicted(o) for o in self.observations])

    @functools.cached_property
    def _predictions(self) -> dict[tuple[Any, ...], tuple[float, ...]]:
        return {}


def load_sources(sweep: SweepSpec, storage: Path) -> list[Source]:
    """The sources that a sweep learns from.

    Args:
        sweep: names its sources: sweeps below the storage, or folders of sweeps.
        storage: the storage folder.

    Raises:
        BadInputError: one is no ledger, has no finished trial, or no factor in common.
    """
    return [_load(sweep, name, storage) for name in sweep.learn_from]


def _load(sweep: SweepSpec, name: str, storage: Path) -> Source:
    pull(storage / name)
    folder = storage / name if any((storage / name).glob(f"trials/*/{REQUEST}")) else Path(name)
    if not any(folder.glob(f"trials/*/{REQUEST}")):
        known = sorted({path.parents[2].name for path in storage.glob(f"*/trials/*/{REQUEST}")})
        raise BadInputError(
            f"learn_from: {unknown(f'sweep in {storage}', name, known)} Or give the folder of a "
            "sweep, which holds trials/ID/spec.json."
        )
    if folder.resolve() == (storage / sweep.name).resolve():
        raise BadInputError(
            f"learn_from: {name!r} is this sweep itself, whose trials it knows; name another one"
        )
    ledger = Ledger(folder.resolve().parent, folder.resolve().name)
    asked, seen, found = set(), set(), []
    space, base, cells = sweep.search_space, sweep.base_trial, sweep.cells
    for trial_id, request in ledger.requests().items():
        record = ledger.record(trial_id)
        if record is None or request.origin in ("reference", "confirm"):
            continue
        asked |= {*request.params, *request.cell}
        observation = _as_today(space, base, cells[0], request, name)
        if observation is None:
            continue
        observation = replace(observation, **outcome(record, sweep.goals))
        point = (observation.cell_id, *sorted(observation.params.items()))
        if observation.values is not None and point not in seen:  # repeats have other seeds
            seen.add(point)
            found.append(observation)
    if not found:
        middle = PointTrial({})
        space.build(middle, cells[0], base)
        raise BadInputError(
            f"learn_from: sweep {name!r} has no completed trial with a factor in common: it has "
            f"{', '.join(sorted(asked)) or 'none'}, and this sweep searches "
            f"{', '.join(middle.params)}; leave it out"
        )
    objectives = sweep.goals.objectives
    telling = most_telling(found, standardised(found, objectives), objectives)
    return Source(name, tuple(found[i] for i in telling), objectives)


def _as_today(
    space: Space, base: TrialSpec, cell: Cell, request: Request, name: str
) -> Observation | None:
    """An earlier trial as a point of today's space; None where the two have nothing in common.

    Factors that are not searched any more are dropped, new ones put in the middle.
    """
    earlier = {**request.cell, **request.params}
    today = {factor: earlier.get(factor, level) for factor, level in cell.items()}
    point = PointTrial(earlier)
    try:
        space.build(point, today, base)
    except ValueError:  # a choice or a value that is not offered today
        return None
    if not point.params.keys() & earlier.keys():
        return None
    stood = {**request.cell, **{k: earlier[k] for k in cell if k in earlier}, "source": name}
    levels = {k: v for k, v in stood.items() if k not in point.params}
    return Observation(levels, point.params, point.distributions)


def _distance(one: Observation, other: Observation) -> float:
    """How far two points are: a mean over the factors of either, each in [0, 1]."""
    factors = {**one.distributions, **other.distributions}
    apart = [
        1.0
        if (name in one.params) != (name in other.params)
        else _apart(distribution, one.params[name], other.params[name])
        for name, distribution in factors.items()
    ]
    return sum(apart) / max(len(apart), 1)


def _apart(distribution: BaseDistribution, one: Any, other: Any) -> float:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return float(one != other)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, one, other = (math.log(x) for x in (low, high, one, other))
    return abs(one - other) / (high - low) if high > low else 0.0
