"""What each factor of any sweep does to the retention, and what its trials cannot tell.

Two trials that differ in one factor alone tell its effect, whatever else was asked of them; a
factor of which there are no such pairs, as of numbers that a sampler draws, is fitted together with
all others. What is compared are the students as they were trained, kept or not, on the search
split: all answered the same questions, and nothing is chosen.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from analysis.contrasts import Effect, regression, t_factor
from analysis.effects.configurations import Configuration, configurations
from analysis.load import Trial, load_sweep
from analysis.points import is_guessing
from analysis.samples import influences_of, trained_samples
from trainables.common.files import read_if_sound
from trainables.records import REQUEST
from trainables.records.clusters import Floats
from trainables.specs import Frozen

MOST = 100.0  # points; an interval that reaches so far either way says nothing
READ = 512  # trials whose questions are read, 10 ms each; of more the errors count as independent
DECADE = 10.0  # numbers that reach so far are fitted on a log scale

METHOD = (
    "Points of search-split retention, of the students as they were trained, kept or not. By "
    "pairs: the mean difference between configurations that differ in this factor alone (and in "
    "what only one of its levels has), `least to most` from pair to pair; pairs of which both only "
    "guess are left out. By a fit: least squares on all factors at once, an effect being that from "
    "the lowest to the highest number tried, intervals by a jackknife over configurations. The "
    "95 % intervals hold for all rows together."
)
QUESTIONS = (
    "Those of pairs hold the choice of questions (clustered by image, paired), and not the seeds: "
    "no configuration was repeated with others."
)
SEEDS = (
    "Those of pairs hold the choice of questions (clustered by image, paired) and the seeds, whose "
    "noise is that of the configurations that were repeated."
)
RULE = "`told apart` is an effect whose interval does not hold 0."


class FactorEffect(Frozen):
    """What a level of a factor does against another one, or a number over its range.

    Attributes:
        effect: in points of retention; `runs` counts the trials that show it.
        pairs: configurations that differ in it alone; 0 for a fit.
        least: the lowest difference of a pair, in points; None for a fit.
        most: the highest.
    """

    factor: str
    level: str
    against: str
    effect: Effect
    pairs: int = 0
    least: float | None = None
    most: float | None = None

    @property
    def told(self) -> bool:
        """Whether the interval excludes no effect."""
        return self.effect.low > 0 or self.effect.high < 0


class Untold(Frozen):
    """A factor, or some levels of it, of which the trials tell nothing, and why."""

    factor: str
    why: str


class FactorReport(Frozen):
    """The outcome: those that are told apart first, by falling size."""

    sweep: str
    effects: tuple[FactorEffect, ...] = ()
    untold: tuple[Untold, ...] = ()
    seed_deviation: float | None = None
    method: str = METHOD
    rule: str = RULE


class _Asked(BaseModel):
    """What a trial's request says of its factors."""

    cell: dict[str, Any] = {}
    params: dict[str, Any] = {}


class _Row(NamedTuple):
    """A configuration: its factors, those that its cell fixes, and its mean retention in points."""

    configuration: Configuration
    values: dict[str, Any]
    fixed: frozenset[str]
    points: float
    guesses: bool


class _Noise(NamedTuple):
    """Standard deviation over seeds, in points, with its degrees of freedom."""

    deviation: float
    degrees: int


@dataclass(frozen=True)
class _Levels:
    """The levels of a factor: first the one that others are held against, then as common as are."""

    values: tuple[Any, ...]

    @classmethod
    def of(cls, rows: Sequence[_Row], factor: str) -> "_Levels":
        asked = [row.values[factor] for row in rows if factor in row.values]
        counts = Counter(json.dumps(value) for value in asked)
        return cls(tuple(json.loads(key) for key, _ in counts.most_common()))

    @property
    def numeric(self) -> bool:
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)


def factor_report(trials: Sequence[Trial]) -> FactorReport:
    """The effects of the factors that the trials of one sweep were asked for."""
    rows = list(_rows(trials))
    names = dict.fromkeys(name for row in rows for name in row.values)
    levels = {name: _Levels.of(rows, name) for name in names}
    levels = {name: found for name, found in levels.items() if len(found.values) > 1}
    levels, pairs = _pairs(rows, levels)
    noise = _noise(rows)
    fitted = [n for n in levels if not any(factor == n for factor, _ in pairs)]
    columns = [c for n in fitted for c in _columns(rows, n, levels[n])]
    among = max(1, len(pairs) + len(columns))
    errors = _Errors(rows, pairs, noise, among)
    found = list[FactorEffect]()
    for (factor, level), own in pairs.items():
        effect = errors.effect(f"{factor} {level}", own)
        apart = [rows[high].points - rows[low].points for low, high in own]
        against = shown(levels[factor].values[0])
        if effect is not None:
            found.append(
                FactorEffect(factor=factor, level=level, against=against, effect=effect,
                             pairs=len(own), least=min(apart), most=max(apart))
            )  # fmt: skip
    found += _fit(rows, levels, fitted, columns, among)
    told = [e for e in found if e.effect.low > -MOST or e.effect.high < MOST]
    told.sort(key=lambda e: (not e.told, -abs(e.effect.estimate)))
    return FactorReport(
        sweep=trials[0].record.sweep if trials else "",
        effects=tuple(told),
        untold=(*_untold(levels, fitted, told, len(rows)), *_not_varied(trials, rows)),
        seed_deviation=noise and noise.deviation,
        method=f"{METHOD} {QUESTIONS if noise is None else SEEDS}",
    )


def shown(value: Any) -> str:
    """A level as tables have it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rows(trials: Sequence[Trial]) -> Iterator[_Row]:
    for configuration in configurations(trials):
        first = configuration.first
        asked = read_if_sound(first.folder / REQUEST, _Asked) if first.folder else None
        scores = first.record.as_trained
        kept = [r for t in configuration.trials if (r := t.trained_retention) is not None]
        if asked and scores and kept:
            yield _Row(
                configuration,
                {**asked.cell, **asked.params},
                frozenset(asked.cell),
                100 * float(np.mean(kept)),
                is_guessing(scores),
            )


_Pairs = dict[tuple[str, str], list[tuple[int, int]]]


def _pairs(
    rows: Sequence[_Row], levels: Mapping[str, _Levels]
) -> tuple[dict[str, _Levels], _Pairs]:
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
    ordered, pairs = dict[str, _Levels](), _Pairs()
    for name, own in found.items():
        count = range(len(levels[name].values))
        partners = [[len(own[one, two]) for two in count if (one, two) in own] for one in count]
        first = max(count, key=lambda one: (len(partners[one]), sum(partners[one]), -one))
        values = levels[name].values
        if levels[name].numeric and 2 * len(partners[first]) < len(values) - 1:
            own.clear()  # numbers that happen to meet; a fit has all of them
        ordered[name] = _Levels((values[first], *(v for v in values if v != values[first])))
        pairs |= {
            (name, shown(values[two])): own[first, two] for two in count if (first, two) in own
        }
    return ordered, pairs


class _Errors:
    """Intervals of mean differences between configurations."""

    def __init__(
        self, rows: Sequence[_Row], pairs: _Pairs, noise: _Noise | None, among: int
    ) -> None:
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
            error = math.hypot(asked, self._noise.deviation * math.sqrt(sum(shares)))
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
            moved = sum(w * self._influences[place] for place, w in weights.items())
            squares = float(np.square(moved).sum())
            return 100 * math.sqrt(self._images / (self._images - 1) * squares)
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


def _noise(rows: Sequence[_Row]) -> _Noise | None:
    """Pooled over the configurations that were run with several seeds; None without any."""
    squares, degrees = 0.0, 0
    for row in rows:
        values = [
            100 * r
            for t in row.configuration.by_seed().values()
            if (r := t.trained_retention) is not None
        ]
        if len(values) > 1:
            squares += float(np.var(values)) * len(values)
            degrees += len(values) - 1
    return _Noise(math.sqrt(squares / degrees), degrees) if degrees else None


class _Column(NamedTuple):
    """A column of the fit: the factor, what 1 and 0 stand for, and its values [N]."""

    factor: str
    level: str
    against: str
    values: Floats


def _columns(rows: Sequence[_Row], factor: str, levels: _Levels) -> list[_Column]:
    """A column for a number, over its range; else one for each level but the most common one."""
    if not levels.numeric:
        return [
            _Column(factor, shown(level), shown(levels.values[0]),
                    np.array([float(row.values.get(factor, _NOTHING) == level) for row in rows]))
            for level in levels.values[1:]
        ]  # fmt: skip
    low, high = min(levels.values), max(levels.values)
    scale = math.log if low > 0 and high / low >= DECADE else float
    span = scale(high) - scale(low)
    values = [(scale(row.values.get(factor, low)) - scale(low)) / span for row in rows]
    return [_Column(factor, shown(high), shown(low), np.array(values))]


_NOTHING = object()


def _fit(
    rows: Sequence[_Row],
    levels: Mapping[str, _Levels],
    fitted: Sequence[str],
    columns: Sequence[_Column],
    among: int,
) -> list[FactorEffect]:
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
        for c in _columns(rows, n, levels[n])
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
            own = effect.model_copy(
                update={"name": f"{column.factor} {column.level}", "runs": runs}
            )
            found.append(
                FactorEffect(factor=column.factor, level=column.level, against=column.against,
                             effect=own)
            )  # fmt: skip
    return found


def _not_varied(trials: Sequence[Trial], rows: Sequence[_Row]) -> Iterator[Untold]:
    """Factors of which the sweep offers several levels, and the trials have one so far."""
    folder = next((t.folder for t in trials if t.folder is not None), None)
    sweep = load_sweep(folder.parents[1]) if folder is not None else {}
    offered = {name for name, levels in (sweep.get("choices") or {}).items() if len(levels) > 1}
    for name in sorted(offered | set(sweep.get("ranges") or {})):
        tried = {shown(row.values[name]) for row in rows if name in row.values}
        if len(tried) == 1:
            yield Untold(factor=name, why=f"only {tried.pop()} was tried")


def _untold(
    levels: Mapping[str, _Levels],
    fitted: Sequence[str],
    found: Sequence[FactorEffect],
    count: int,
) -> Iterator[Untold]:
    """Factors and levels without an effect, and what is lacking."""
    for name, own in levels.items():
        told = {e.level for e in found if e.factor == name}
        missing = [shown(v) for v in own.values[1:] if shown(v) not in told]
        if not told:
            why = "no two trials differ in it alone"
            if name in fitted:
                why += f", and {count} configurations are too few to fit all factors at once"
            yield Untold(factor=name, why=why)
        elif missing and not (name in fitted and own.numeric):
            why = f"no trial at {', '.join(missing)} has its equal at {shown(own.values[0])}"
            yield Untold(factor=name, why=why)
