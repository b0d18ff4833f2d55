"""What the sampler is told of a sweep's trials: values that compare across its cells."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.axes import Axis
from search_spaces.suggesters import PointTrial
from sweeps.engine.search.observations import Observation, State, by_cell

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Without = Mapping[str, Collection[Any]]  # choices of categorical factors that are left out
Floats = NDArray[np.float64]
Told = tuple[float, ...] | None
Prior = tuple[Observation, Told]
_OPTUNA_STATES: dict[State, str] = {
    "completed": "COMPLETE",
    "running": "RUNNING",
    "early_stopped": "PRUNED",  # Optuna's word for it
    "failed": "FAIL",
}
# Trials' worth of the whole sweep's spread that steady the spread of a cell with few trials.
STEADY = 2
# By which the worst trial lies within a hypervolume, in those spreads or in decades of a cost.
MARGIN = 0.1
# Trials that a study holds at most, so that a proposal costs the same however long the sweep is.
MOST = 200


def as_optuna(
    observations: Iterable[Observation],
    without: Without,
    objectives: Sequence[Axis],
    most: int = MOST,
    prior: Sequence[Prior] = (),
) -> list[FrozenTrial]:
    """The most telling observations as trials of a space that lacks some choices, oldest first.

    Args:
        observations: of the sweep.
        without: the choices that it lacks.
        objectives: what they have reached.
        most: observations of the sweep that are told at most.
        prior: trials of other sweeps and their objectives, which come before them.
    """
    kept = [o for o in observations if not _left_out(o, without)]
    scaled = standardised(kept, objectives)
    chosen = most_telling(kept, scaled, objectives, most)
    earlier = [(o, told) for o, told in prior if not _left_out(o, without)]
    trials = [*earlier, *((kept[i], scaled[i]) for i in chosen)]
    return [_trial(*trial, without, number) for number, trial in enumerate(trials, start=1)]


def standardised(observations: Sequence[Observation], objectives: Sequence[Axis]) -> list[Told]:
    """Objectives that compare across cells; None for a trial without all of them.

    What is to be high (a score) counts in spreads of its cell:
    z = (r - mean of the cell) / s with s^2 = (S_cell + STEADY * v) / (n_cell + STEADY), where S is
    a sum of squared deviations and v the mean square within cells of the whole sweep.

    What is to be low (a cost) counts as log10, 0 as half of the smallest other value. Where the
    size of the model decides it, the mean of the cell is taken off: else every trial of a small
    cell would dominate those of the others, and the study learn nothing from these.
    """
    values = [observation.values for observation in observations]
    done = [i for i, found in enumerate(values) if found is not None]
    groups = [np.array(rows) for rows in by_cell(observations[i] for i in done)]
    table = np.array([values[i] for i in done], dtype=float).reshape(len(done), len(objectives))
    for column, axis in enumerate(objectives):
        table[:, column] = _scaled(table[:, column], axis, groups)
    told: list[Told] = [None] * len(values)
    for i, row in zip(done, table.tolist(), strict=True):
        told[i] = tuple(row)
    return told


def _scaled(column: Floats, axis: Axis, cells: Sequence[NDArray[np.intp]]) -> Floats:
    """The values of one objective; `cells` has the places of each cell's trials."""
    if axis.better == "lower":
        floor = column[column > 0].min(initial=np.inf) / 2
        column = np.log10(np.maximum(column, floor if math.isfinite(floor) else 1.0))
        if not axis.sized:
            return column
    centred = column.copy()
    for rows in cells:
        centred[rows] -= column[rows].mean()
    if axis.better == "lower":
        return centred
    pooled = float((centred**2).sum()) / max(len(column) - len(cells), 1) or 1.0
    for rows in cells:
        squares = float((centred[rows] ** 2).sum())
        centred[rows] /= math.sqrt((squares + STEADY * pooled) / (len(rows) + STEADY))
    return centred


def with_all_factors(
    trials: Sequence[FrozenTrial], system_attrs: Mapping[str, Any]
) -> list[FrozenTrial]:
    """Copies that have every factor which any of them has; what a trial lacks is put in the middle.

    The middle is that of an interval, and the first of the choices.
    """
    space = {name: d for trial in trials for name, d in trial.distributions.items()}
    middle = PointTrial({})
    for name, distribution in space.items():
        middle.answer(name, distribution)
    found = []
    for trial in trials:
        full = copy.copy(trial)
        full.params, full.distributions = middle.params | trial.params, space
        full._system_attrs = {**trial.system_attrs, **system_attrs}  # limits are among them
        found.append(full)
    return found


def most_telling(
    observations: Sequence[Observation],
    scaled: Sequence[Told],
    objectives: Sequence[Axis],
    most: int = MOST,
) -> list[int]:
    """Places of at most `most` observations: a quarter the best, some running, the rest evenly.

    TPE compares the best tenth with all others, so neither may be thinned out alone. The best are
    those that keep the limits, or nearly, and of the lowest non-dominated rank; of running trials
    the newest count.
    """
    places = range(len(observations))
    if len(places) <= most:
        return list(places)
    import moocore

    done = [i for i in places if scaled[i] is not None]
    higher = [axis.better == "higher" for axis in objectives]
    ranks = moocore.pareto_rank([scaled[i] for i in done], maximise=higher) if done else []
    broken = [_beyond(observations[i]) for i in done]  # what keeps the limits comes first
    best = [done[i] for i in np.lexsort((ranks, broken))[: most // 4]]
    running = [i for i in places if observations[i].state == "running"][-(most // 4) :]
    chosen = {*best, *running}
    rest = [i for i in places if i not in chosen and observations[i].state != "failed"]
    evenly = np.linspace(0, len(rest) - 1, min(most - len(chosen), len(rest))).astype(int)
    return sorted(chosen | {rest[i] for i in evenly})


def _beyond(observation: Observation) -> float:
    """How far the limits are broken, as Optuna adds it up; 0 where none is."""
    return sum(beyond for beyond in observation.excess.values() if beyond and beyond > 0)


def _left_out(observation: Observation, without: Without) -> bool:
    params = observation.params
    return any(name in params and params[name] in choices for name, choices in without.items())


def _trial(observation: Observation, told: Told, without: Without, number: int) -> FrozenTrial:
    from optuna.distributions import CategoricalDistribution
    from optuna.trial import FrozenTrial, TrialState

    distributions = dict(observation.distributions)
    for name in without.keys() & distributions.keys():
        offered = distributions[name]
        assert isinstance(offered, CategoricalDistribution)
        left = tuple(c for c in offered.choices if c not in without[name])
        distributions[name] = CategoricalDistribution(left)
    state = TrialState[_OPTUNA_STATES[observation.state]]
    if state is TrialState.COMPLETE and told is None:
        state = TrialState.FAIL
    trial = FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=None,
        values=told,
        datetime_start=None,
        datetime_complete=None,
        params=dict(observation.params),
        distributions=distributions,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )
    for name, beyond in observation.excess.items():
        if beyond is not None:
            trial.set_constraint(name, beyond)
    return trial
