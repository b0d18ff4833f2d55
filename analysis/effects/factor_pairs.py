"""Pairs of configurations that differ in one factor alone, and the errors of their differences."""

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.contrasts import Effect, Noise, pooled_noise, t_factor
from analysis.effects.factor_rows import Levels, Row, shown
from analysis.samples import influences_of, trained_samples
from trainables.records.clusters import Floats, summed_error

READ = 512  # trials whose questions are read, 10 ms each; of more the errors count as independent

Pairs = dict[tuple[str, str], list[tuple[int, int]]]


def pairs_among(
    rows: Sequence[Row], levels: Mapping[str, Levels]
) -> tuple[dict[str, Levels], Pairs]:
    """The levels, that which has its equal at most others first; and pairs by factor and level.

    A pair are the places of (the first level, this one) with all else the same. A factor that only
    one of the two was asked for follows from the one that differs.
    """
    names = list(levels)
    places = {n: {json.dumps(v): at for at, v in enumerate(levels[n].values, 1)} for n in names}
    codes: NDArray[np.int64] = np.array(
        [
            [places[n][json.dumps(row.values[n])] if n in row.values else 0 for n in names]
            for row in rows
        ],
        dtype=np.int64,
    ).reshape(len(rows), len(names))
    found: dict[str, dict[tuple[int, int], list[tuple[int, int]]]] = {n: {} for n in names}
    for at in range(len(rows) - 1):
        others = codes[at + 1 :]
        differ = (others != codes[at]) & (others > 0) & (codes[at] > 0)
        for other in np.flatnonzero(differ.sum(axis=1) == 1):
            factor, place = int(differ[other].argmax()), at + 1 + int(other)
            if rows[at].guesses and rows[place].guesses:
                continue
            one, two = int(codes[at, factor]) - 1, int(codes[place, factor]) - 1
            found[names[factor]].setdefault((one, two), []).append((at, place))
            found[names[factor]].setdefault((two, one), []).append((place, at))
    ordered, pairs = dict[str, Levels](), Pairs()
    for name, own in found.items():
        count = range(len(levels[name].values))
        partners = [list[int]() for _ in count]
        for (one, _), met in own.items():
            partners[one].append(len(met))
        first = max(count, key=lambda one: (len(partners[one]), sum(partners[one]), -one))
        values = levels[name].values
        if levels[name].numeric and 2 * len(partners[first]) < len(values) - 1:
            own.clear()  # numbers that happen to meet; a fit has all of them
        ordered[name] = Levels((values[first], *(v for v in values if v != values[first])))
        pairs |= {
            (name, shown(values[two])): own[first, two] for two in count if (first, two) in own
        }
    return ordered, pairs


class Errors:
    """Intervals of mean differences between configurations."""

    def __init__(self, rows: Sequence[Row], pairs: Pairs, noise: Noise | None, among: int) -> None:
        self._rows, self._noise, self._among = rows, noise, among
        used = sorted({place for own in pairs.values() for pair in own for place in pair})
        trials = [t for place in used for t in rows[place].configuration.trials]
        owner = [place for place in used for _ in rows[place].configuration.trials]
        self._influences: dict[int, Floats] = {}
        self._images = 0
        tables = [trained_samples(t) for t in trials] if len(trials) <= READ else []
        for members, sums in influences_of(trials, tables, "search")[:1]:
            self._images = sums.shape[1]
            for place in used:
                own = [at for at, m in enumerate(members) if owner[m] == place]
                if len(own) == owner.count(place):
                    self._influences[place] = sums[own].mean(axis=0)

    def effect(self, name: str, pairs: Sequence[tuple[int, int]]) -> Effect | None:
        """The mean difference of the pairs; None where no error of it is known."""
        weights: dict[int, float] = {}
        for low, high in pairs:
            weights[high] = weights.get(high, 0.0) + 1 / len(pairs)
            weights[low] = weights.get(low, 0.0) - 1 / len(pairs)
        asked = self._asked(weights, pairs)
        if asked is None:
            return None
        degrees = self._images - 1 if self._images else math.inf
        error = asked
        if self._noise is not None:
            shares = (w**2 / len(self._rows[p].configuration.trials) for p, w in weights.items())
            error = math.hypot(asked, math.sqrt(self._noise.variance * sum(shares)))
            degrees = min(degrees, self._noise.degrees)
        middle = sum(weight * self._rows[place].points for place, weight in weights.items())
        half = t_factor(degrees, self._among) * error
        runs = sum(len(self._rows[place].configuration.trials) for place in weights)
        return Effect(name=name, estimate=middle, low=middle - half, high=middle + half, runs=runs)

    def _asked(
        self, weights: Mapping[int, float], pairs: Sequence[tuple[int, int]]
    ) -> float | None:
        """The error by the choice of questions; without samples at most the mean of the pairs'."""
        if weights.keys() <= self._influences.keys():
            moved = (w * self._influences[place] for place, w in weights.items())
            return 100 * summed_error(np.sum(list(moved), axis=0))
        each = []
        for pair in pairs:
            own = [self._own_error(place) for place in pair]
            if None in own:
                return None
            each.append(math.hypot(*(e or 0.0 for e in own)))
        return float(np.mean(each))

    def _own_error(self, place: int) -> float | None:
        scores = self._rows[place].configuration.first.record.as_trained
        found = scores.retention_se if scores else None
        return None if found is None else 100 * found


def seed_noise(rows: Sequence[Row]) -> Noise | None:
    """Pooled over the configurations that were run with several seeds; None without any."""
    return pooled_noise(
        [
            100 * r
            for t in row.configuration.by_seed().values()
            if (r := t.trained_retention) is not None
        ]
        for row in rows
    )
