"""Configurations of a sweep with the factors they were asked for, and the levels of these."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel

from analysis.effects.configurations import Configuration, configurations
from analysis.load import Trial
from analysis.points import is_guessing
from trainables.common.files import read_if_sound
from trainables.records import REQUEST


class _Asked(BaseModel):
    """What a trial's request says of its factors."""

    cell: dict[str, Any] = {}
    params: dict[str, Any] = {}


class Row(NamedTuple):
    """A configuration: its factors, those that its cell fixes, and its mean retention in points."""

    configuration: Configuration
    values: dict[str, Any]
    fixed: frozenset[str]
    points: float
    guesses: bool


@dataclass(frozen=True)
class Levels:
    """The levels of a factor: first the one that others are held against, then as common as are."""

    values: tuple[Any, ...]

    @classmethod
    def of(cls, rows: Sequence[Row], factor: str) -> "Levels":
        """The levels that rows were asked for, the most common one first."""
        asked = [row.values[factor] for row in rows if factor in row.values]
        counts = Counter(json.dumps(value) for value in asked)
        return cls(tuple(json.loads(key) for key, _ in counts.most_common()))

    @property
    def numeric(self) -> bool:
        """Whether all of them are numbers."""
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)


def shown(value: Any) -> str:
    """A level as tables have it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rows_of(trials: Sequence[Trial]) -> Iterator[Row]:
    """The configurations with scores whose requests can be read."""
    for configuration in configurations(trials):
        first = configuration.first
        asked = read_if_sound(first.folder / REQUEST, _Asked) if first.folder else None
        scores = first.record.as_trained
        kept = [r for t in configuration.trials if (r := t.trained_retention) is not None]
        if asked and scores and kept:
            yield Row(
                configuration,
                {**asked.cell, **asked.params},
                frozenset(asked.cell),
                100 * float(np.mean(kept)),
                is_guessing(scores),
            )
