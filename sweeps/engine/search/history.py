"""What the sampler is told of a sweep's trials: values that compare across its cells."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from search_spaces.factors import Cell
from search_spaces.spaces import Space
from search_spaces.suggesters import PointTrial
from sweeps.engine.spec.ledger import Request
from trainables.records import TrialRecord
from trainables.specs import TrialSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

State = Literal["completed", "running", "early_stopped", "failed"]
Without = Mapping[str, Collection[Any]]  # choices of categorical factors that are left out
Told = tuple[float, float] | None
_OPTUNA_STATES: dict[State, str] = {
    "completed": "COMPLETE",
    "running": "RUNNING",
    "early_stopped": "PRUNED",  # Optuna's word for it
    "failed": "FAIL",
}
# Trials' worth of the whole sweep's spread that steady the spread of a cell with few trials.
STEADY = 2
# Trials that a study holds at most, so that a proposal costs the same however long the sweep is.
MOST = 200


@dataclass(frozen=True)
class Observation:
    """What is known of one trial: its searched factors, and how it stands.

    Attributes:
        distributions: of its factors, as the space has them today.
        retention: on the search split; only a completed trial's counts.
        recovery_tflops: its nominal cost.
    """

    cell: Cell
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    state: State = "running"
    retention: float | None = None
    recovery_tflops: float | None = None

    @functools.cached_property
    def cell_id(self) -> tuple[Any, ...]:
        """The cell as a value that can be counted."""
        return cell_id(self.cell)

    @functools.cached_property
    def values(self) -> tuple[float, float] | None:
        """The objectives of a completed trial; None where one is missing or not finite."""
        if self.state != "completed" or self.retention is None or self.recovery_tflops is None:
            return None
        pair = (float(self.retention), float(self.recovery_tflops))
        return pair if all(map(math.isfinite, pair)) else None


def cell_id(cell: Cell) -> tuple[Any, ...]:
    """A cell as a value that can be counted."""
    return tuple(sorted(cell.items()))


def observe(space: Space, base: TrialSpec, request: Request) -> Observation | None:
    """A trial that was asked for, as running; None if it teaches nothing.

    That is a reference, one whose point the space of today does not contain, and a repeat of a
    point with other seeds.
    """
    if request.origin in ("reference", "confirm"):
        return None
    point = PointTrial(request.params)
    try:
        spec = space.build(point, request.cell, base)
        point.check_used()
    except ValueError:
        return None
    if spec.seeds != request.spec.seeds:
        return None
    return Observation(request.cell, point.params, point.distributions)


def outcome(record: TrialRecord) -> dict[str, Any]:
    """How a trial stands once it has this record: those fields of an `Observation`."""
    return {
        "state": record.status,
        "retention": record.evaluation.retention if record.evaluation else None,
        "recovery_tflops": record.recovery.tflops if record.recovery else 0.0,
    }


def as_optuna(
    observations: Iterable[Observation], without: Without, most: int = MOST
) -> list[FrozenTrial]:
    """The most telling observations as trials of a space that lacks some choices, oldest first."""
    kept = [o for o in observations if not _left_out(o, without)]
    scaled = standardised(kept)
    chosen = most_telling(kept, scaled, most)
    return [_trial(kept[i], scaled[i], without, number) for number, i in enumerate(chosen, start=1)]


def standardised(observations: Sequence[Observation]) -> list[Told]:
    """Objectives that compare across cells: retention in spreads of its cell, log10 of the cost.

    z = (r - mean of the cell) / s with s^2 = (S_cell + STEADY * v) / (n_cell + STEADY), where S is
    a sum of squared deviations and v the mean square within cells of the whole sweep. A cost of
    zero counts as half of the smallest other one. None for a trial without both.
    """
    values = [observation.values for observation in observations]
    names = [observation.cell_id for observation in observations]
    cells: dict[tuple[Any, ...], list[float]] = {}
    for name, pair in zip(names, values, strict=True):
        if pair is not None:
            cells.setdefault(name, []).append(pair[0])
    squares = {name: len(found) * float(np.var(found)) for name, found in cells.items()}
    free = sum(len(found) - 1 for found in cells.values())
    pooled = sum(squares.values()) / max(free, 1) or 1.0
    means, spreads = {}, {}
    for name, found in cells.items():
        means[name] = float(np.mean(found))
        spreads[name] = math.sqrt((squares[name] + STEADY * pooled) / (len(found) + STEADY))
    floor = min((pair[1] for pair in values if pair and pair[1] > 0), default=2.0) / 2
    return [
        None
        if pair is None
        else ((pair[0] - means[name]) / spreads[name], math.log10(max(pair[1], floor)))
        for name, pair in zip(names, values, strict=True)
    ]


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
        full._system_attrs = dict(system_attrs)
        found.append(full)
    return found


def most_telling(
    observations: Sequence[Observation], scaled: Sequence[Told], most: int = MOST
) -> list[int]:
    """Places of at most `most` observations: a quarter the best, some running, the rest evenly.

    TPE compares the best tenth with all others, so neither may be thinned out alone. The best are
    those of the lowest non-dominated rank; of running trials the newest count.
    """
    places = range(len(observations))
    if len(places) <= most:
        return list(places)
    import moocore

    done = [i for i in places if scaled[i] is not None]
    ranks = moocore.pareto_rank([scaled[i] for i in done], maximise=[True, False])
    best = [done[i] for i in np.argsort(ranks, kind="stable")[: most // 4]]
    running = [i for i in places if observations[i].state == "running"][-(most // 4) :]
    chosen = {*best, *running}
    rest = [i for i in places if i not in chosen and observations[i].state != "failed"]
    evenly = np.linspace(0, len(rest) - 1, min(most - len(chosen), len(rest))).astype(int)
    return sorted(chosen | {rest[i] for i in evenly})


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
    return FrozenTrial(
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
