"""What each factor of any sweep does to the retention, and what its trials cannot tell.

Two trials that differ in one factor alone tell its effect, whatever else was asked of them; a
factor of which there are no such pairs, as of numbers that a sampler draws, is fitted together with
all others. What is compared are the students as they were trained, kept or not, on the search
split: all answered the same questions, and nothing is chosen.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from analysis.contrasts import Effect
from analysis.effects.factor_fit import columns_of, fitted_effects
from analysis.effects.factor_pairs import Errors, pairs_among, seed_noise
from analysis.effects.factor_rows import Levels, Row, rows_of, shown
from analysis.load import Trial, load_sweep
from trainables.specs import Frozen

MOST = 100.0  # points; an interval that reaches so far either way says nothing

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


def factor_report(trials: Sequence[Trial]) -> FactorReport:
    """The effects of the factors that the trials of one sweep were asked for."""
    rows = list(rows_of(trials))
    names = dict.fromkeys(name for row in rows for name in row.values)
    levels = {name: Levels.of(rows, name) for name in names}
    levels = {name: found for name, found in levels.items() if len(found.values) > 1}
    levels, pairs = pairs_among(rows, levels)
    noise = seed_noise(rows)
    fitted = [n for n in levels if not any(factor == n for factor, _ in pairs)]
    columns = [c for n in fitted for c in columns_of(rows, n, levels[n])]
    among = max(1, len(pairs) + len(columns))
    errors = Errors(rows, pairs, noise, among)
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
    found += [
        FactorEffect(factor=c.factor, level=c.level, against=c.against, effect=effect)
        for c, effect in fitted_effects(rows, levels, fitted, columns, among)
    ]
    told = [e for e in found if e.effect.low > -MOST or e.effect.high < MOST]
    told.sort(key=lambda e: (not e.told, -abs(e.effect.estimate)))
    return FactorReport(
        sweep=trials[0].record.sweep if trials else "",
        effects=tuple(told),
        untold=(*_untold(levels, fitted, told, len(rows)), *_not_varied(trials, rows)),
        seed_deviation=noise and math.sqrt(noise.variance),
        method=f"{METHOD} {QUESTIONS if noise is None else SEEDS}",
    )


def _not_varied(trials: Sequence[Trial], rows: Sequence[Row]) -> Iterator[Untold]:
    """Factors of which the sweep offers several levels, and the trials have one so far."""
    folder = next((t.folder for t in trials if t.folder is not None), None)
    sweep = load_sweep(folder.parents[1]) if folder is not None else {}
    offered = {name for name, levels in (sweep.get("choices") or {}).items() if len(levels) > 1}
    for name in sorted(offered | set(sweep.get("ranges") or {})):
        tried = {shown(row.values[name]) for row in rows if name in row.values}
        if len(tried) == 1:
            yield Untold(factor=name, why=f"only {tried.pop()} was tried")


def _untold(
    levels: Mapping[str, Levels],
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
