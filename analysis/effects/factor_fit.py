"""Effects of factors without pairs: least squares on all factors at once."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis.contrasts import Effect, regression
from analysis.effects.factor_rows import Levels, Row, shown
from trainables.records.clusters import Floats

DECADE = 10.0  # numbers that reach so far are fitted on a log scale
_NOTHING = object()  # no level of a factor that was not asked for


class Column(NamedTuple):
    """A column of the fit: the factor, what 1 and 0 stand for, and its values [N]."""

    factor: str
    level: str
    against: str
    values: Floats


def columns_of(rows: Sequence[Row], factor: str, levels: Levels) -> list[Column]:
    """A column for a number, over its range; else one for each level but the most common one."""
    if not levels.numeric:
        return [
            Column(factor, shown(level), shown(levels.values[0]),
                    np.array([float(row.values.get(factor, _NOTHING) == level) for row in rows]))
            for level in levels.values[1:]
        ]  # fmt: skip
    low, high = min(levels.values), max(levels.values)
    scale = math.log if low > 0 and high / low >= DECADE else float
    span = scale(high) - scale(low)
    values = [(scale(row.values.get(factor, low)) - scale(low)) / span for row in rows]
    return [Column(factor, shown(high), shown(low), np.array(values))]


def fitted_effects(
    rows: Sequence[Row],
    levels: Mapping[str, Levels],
    fitted: Sequence[str],
    columns: Sequence[Column],
    among: int,
) -> list[tuple[Column, Effect]]:
    """The effects of `columns`, those of the factors `fitted`; none with too few configurations.

    The other factors that cells fix have an intercept for each combination, the rest a column.
    """
    if not columns:
        return []
    blocked = [n for n in levels if n not in fitted and all(n in row.fixed for row in rows)]
    others = [
        c
        for n in levels
        if n not in fitted and n not in blocked
        for c in columns_of(rows, n, levels[n])
    ]
    blocks = [json.dumps([row.values[name] for name in blocked]) for row in rows]
    named = {f"{c.factor} {c.level} {place}": c for place, c in enumerate((*others, *columns))}
    effects = regression(
        list(named),
        np.stack([c.values for c in named.values()], axis=1),
        np.array([row.points for row in rows]),
        [row.configuration.key for row in rows],
        blocks=blocks,
        among=among,
    )
    found = []
    for effect in effects:
        column = named[effect.name]
        if column.factor in fitted:
            runs = sum(len(r.configuration.trials) for r in rows if column.factor in r.values)
            own = {"name": f"{column.factor} {column.level}", "runs": runs}
            found.append((column, effect.model_copy(update=own)))
    return found
