"""Points of a space as rows of numbers, and the other way round."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.factors import Cell
from search_spaces.spaces import Space
from sweeps.engine.search.history import Floats, Without
from sweeps.engine.search.observations import Observation
from trainables.specs import TrialSpec

WIDE = 4.0  # choices of numbers count on a log scale if the largest is so many times the smallest
STEP = 0.1  # beside another point, as a part of a factor's range
APART = math.sqrt(0.5)  # so that two choices with nothing in common are 1 apart


@dataclass(frozen=True)
class Leaf:
    """Points of a cell that differ in numbers only.

    Attributes:
        params: one of them; its choices are those of all.
        distributions: of the factors.
    """

    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]

    def keeps_off(self, without: Without) -> bool:
        """Whether none of these choices is among its own."""
        return not any(self.params.get(name) in choices for name, choices in without.items())

    @property
    def numbers(self) -> dict[str, FloatDistribution | IntDistribution]:
        """The factors that are numbers from an interval."""
        found = self.distributions.items()
        return {n: d for n, d in found if isinstance(d, FloatDistribution | IntDistribution)}


@functools.lru_cache(maxsize=256)
def leaves(space: Space, cell: tuple[tuple[str, Any], ...], base: TrialSpec) -> tuple[Leaf, ...]:
    """Every combination of choices that a cell (its sorted items) offers."""
    found = space.branches(dict(cell), base)
    return tuple(Leaf(trial.params, trial.distributions) for trial, _ in found)


def _level(name: str) -> str:
    """What a cell's factor is called beside the searched ones, of which one may be the same."""
    return f"cell {name}"


class Encoder:
    """Points as rows: a number counts in its range, a choice by the parts that it is joined of.

    So `ce+l2` is nearer to `ce` than `kl` is. What a point does not have lies in the middle.

    Args:
        asked: cells, and what the space asked for there, of all the points that are to come.
    """

    def __init__(self, asked: Iterable[tuple[Cell, Mapping[str, BaseDistribution]]]) -> None:
        choices: dict[str, dict[Any, None]] = defaultdict(dict)
        ranges: dict[str, set[tuple[float, float, bool]]] = defaultdict(set)
        for cell, distributions in asked:
            for name, level in cell.items():
                choices[_level(name)][level] = None
            for name, distribution in distributions.items():
                if isinstance(distribution, CategoricalDistribution):
                    choices[name].update(dict.fromkeys(distribution.choices))
                elif isinstance(distribution, FloatDistribution | IntDistribution):
                    ranges[name].add((distribution.low, distribution.high, distribution.log))
        self.columns: dict[str, Column] = {}
        self.places: dict[str, int] = {}
        width = 0
        for name in sorted({*choices, *ranges}):
            self.columns[name] = column = _column(choices[name], ranges[name])
            self.places[name] = width
            width += len(column(None))

    def of(self, observations: Sequence[Observation]) -> Floats:
        """[observations, columns]."""
        return self.rows((o.cell, o.params) for o in observations)

    def rows(self, points: Iterable[tuple[Cell, Mapping[str, Any]]]) -> Floats:
        """[points, columns]."""
        found = []
        for cell, params in points:
            point = {**{_level(name): level for name, level in cell.items()}, **params}
            found.append([x for n, column in self.columns.items() for x in column(point.get(n))])
        return np.array(found, dtype=float)


class Points:
    """Points of a cell: the choices of each are those of one leaf, its numbers lie anywhere.

    Args:
        offered: the leaves.
        cell: their cell.
        encoder: gives the rows.
    """

    def __init__(self, offered: Sequence[Leaf], cell: Cell, encoder: Encoder) -> None:
        self._offered, self._encoder = offered, encoder
        self._rows = encoder.rows((cell, leaf.params) for leaf in offered)
        self._free = np.zeros(self._rows.shape, dtype=bool)
        for place, leaf in enumerate(offered):
            self._free[place, [encoder.places[name] for name in leaf.numbers]] = True

    def random(self, rng: np.random.Generator, count: int) -> tuple[NDArray[np.intp], Floats]:
        """(places of their leaves [count], rows [count, columns])."""
        of = rng.integers(len(self._offered), size=count)
        anywhere = rng.random((count, self._rows.shape[1]))
        return of, np.where(self._free[of], anywhere, self._rows[of])

    def around(self, rng: np.random.Generator, of: NDArray[np.intp], rows: Floats) -> Floats:
        """Points whose numbers lie a step beside those of others."""
        moved = np.clip(rows + STEP * rng.standard_normal(rows.shape), 0.0, 1.0)
        return np.where(self._free[of], moved, rows)

    def params(self, of: int, row: Floats) -> dict[str, Any]:
        """The factors of one of them."""
        leaf, found = self._offered[of], {}
        for name, distribution in leaf.numbers.items():
            column = self._encoder.columns[name]
            assert isinstance(column, Number)
            found[name] = column.value(float(row[self._encoder.places[name]]), distribution)
        return {**leaf.params, **found}


class Number:
    """A factor with values in an interval."""

    def __init__(self, low: float, high: float, log: bool) -> None:
        self._scale = math.log if log else float
        self._low, self._high = self._scale(low), self._scale(high)
        self._back = math.exp if log else float

    def __call__(self, value: float | None) -> list[float]:
        """One column, 0 to 1 where the value is in the interval."""
        if value is None or self._high <= self._low:
            return [0.5]
        return [(self._scale(value) - self._low) / (self._high - self._low)]

    def value(self, unit: float, within: FloatDistribution | IntDistribution) -> float | int:
        """The value there, as the distribution has it."""
        found = self._back(self._low + unit * (self._high - self._low))
        found = min(max(found, within.low), within.high)
        return round(found) if isinstance(within, IntDistribution) else found


class Choice:
    """A factor with choices, by the parts that they are joined of with `+`."""

    def __init__(self, choices: Iterable[Any]) -> None:
        self._parts = sorted({part for choice in choices for part in str(choice).split("+")})

    def __call__(self, value: Any) -> list[float]:
        """A column for each part."""
        own = () if value is None else str(value).split("+")
        return [APART * (part in own) for part in self._parts]


Column = Number | Choice


def _column(choices: Collection[Any], ranges: Collection[tuple[float, float, bool]]) -> Column:
    if not all(isinstance(c, int | float) and not isinstance(c, bool) for c in choices):
        return Choice(choices)
    values = [*choices, *(bound for low, high, _ in ranges for bound in (low, high))]
    low, high = min(values), max(values)
    log = any(log for *_, log in ranges) if ranges else low > 0 and high / low >= WIDE
    return Number(low, high, log)
