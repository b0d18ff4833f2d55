"""What is known of a trial of the search, as a value: its point, and how it stands."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from analysis.goals import Goals
from search_spaces.factors import Cell
from search_spaces.spaces import Space
from search_spaces.suggesters import PointTrial
from sweeps.engine.spec.ledger import Request
from sweeps.engine.spec.own_space import SpaceError
from trainables.records import TrialRecord
from trainables.specs import TrialSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

State = Literal["completed", "running", "early_stopped", "failed"]


@dataclass(frozen=True)
class Observation:
    """What is known of one trial: its searched factors, and how it stands.

    Attributes:
        distributions: of its factors, as the space has them today.
        reached: the objectives; only a completed trial's count.
        excess: by limit how far the trial is beyond it (`Axis.excess`).
        ended: how many of the sweep's trials had ended before.
    """

    cell: Cell
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    state: State = "running"
    reached: tuple[float | None, ...] = ()
    excess: Mapping[str, float | None] = field(default_factory=dict)
    ended: int = 0

    @functools.cached_property
    def cell_id(self) -> tuple[Any, ...]:
        """The cell as a value that can be counted."""
        return cell_id(self.cell)

    @functools.cached_property
    def values(self) -> tuple[float, ...] | None:
        """The objectives of a completed trial; None where one, or a limit's value, is missing.

        What is not finite is missing too.
        """
        if self.state != "completed":
            return None
        values = [math.nan if value is None else float(value) for value in self.reached]
        found = all(map(math.isfinite, values)) and None not in self.excess.values()
        return tuple(values) if found else None


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
    except SpaceError:
        raise
    except ValueError:
        return None
    if spec.seeds != request.spec.seeds:
        return None
    return Observation(request.cell, point.params, point.distributions)


def outcome(record: TrialRecord, goals: Goals) -> dict[str, Any]:
    """How a trial stands once it has this record: those fields of an `Observation`."""
    reached, excess = goals.reached(record), goals.excess(record)
    return {"state": record.status, "reached": reached, "excess": excess}


def by_cell(observations: Iterable[Observation]) -> list[list[int]]:
    """The places of each cell's observations."""
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, observation in enumerate(observations):
        places.setdefault(observation.cell_id, []).append(place)
    return list(places.values())
