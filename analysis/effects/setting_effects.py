"""How much each setting around a recipe matters, at each ratio, and which settings are safe at all.

One factor at a time: a recipe (see `one_factor`) and the configurations that differ from it in one
setting. Each was run with the same seeds, so effects are paired; all answered the same questions of
the search split, and nothing was chosen, so nothing flatters.
"""

import math
from collections.abc import Sequence

import numpy as np

from analysis.contrasts import Effect, PairedLayout, deviation_interval, paired_layout, t_factor
from analysis.effects.configurations import Configuration, configurations
from analysis.effects.one_factor import one_factor_each, recipe_of
from analysis.load import Trial
from trainables.specs import Frozen

MARGIN = 1.0  # points of retention that may be lost before a setting counts as harmful
METHOD = (
    "Effect of a setting: mean difference in search-split retention (points) from the recipe of "
    "its ratio, paired by seed; 95 % intervals by Student's t from the noise that all settings of "
    "the ratio share. They are over seeds; the questions are the same throughout."
)
RULE = (
    f"A setting is robust when at every ratio its interval lies above -{MARGIN:g} point, harmful "
    f"when at some ratio it lies below 0 and reaches under -{MARGIN:g}, undecided otherwise."
)


class SettingEffect(Frozen):
    """The effect of one level of one factor on one recipe."""

    recipe: str
    factor: str
    level: str
    effect: Effect


class FactorSpread(Frozen):
    """How far the levels of a factor lie apart (points), and in seed standard deviations."""

    recipe: str
    factor: str
    levels: int
    spread: float
    spread_in_deviations: float


class SeedNoise(Frozen):
    """Standard deviation of the recipe over its seeds (points), its interval, and their number.

    `residual` is what is left of all settings' differences once setting and seed are taken out: the
    noise that the intervals are made of.
    """

    recipe: str
    retention: float
    deviation: float
    low: float
    high: float
    runs: int
    residual: float


class Verdict(Frozen):
    """What a setting does over all recipes that have it, in points.

    `worst` is its effect on the recipe that the verdict is due to: the one with the lowest end of
    the interval (among those that it harms, if any).
    """

    factor: str
    level: str
    recipes: int
    worst: float
    worst_low: float
    worst_recipe: str
    verdict: str


class SensitivityReport(Frozen):
    """The outcome of a sweep around recipes; every figure is in points of retention."""

    sweep: str
    effects: tuple[SettingEffect, ...] = ()
    spreads: tuple[FactorSpread, ...] = ()
    noise: tuple[SeedNoise, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    method: str = METHOD
    rule: str = RULE


def sensitivity_report(trials: Sequence[Trial]) -> SensitivityReport:
    """The outcome of the trials of one sweep; recipes without two paired settings are left out."""
    recipes: dict[str, list[Configuration]] = {}
    for configuration in configurations(trials):
        if configuration.first.loss is not None:
            recipes.setdefault(recipe_of(configuration.first), []).append(configuration)
    effects: list[SettingEffect] = []
    spreads: list[FactorSpread] = []
    noise: list[SeedNoise] = []
    for recipe, members in sorted(recipes.items(), key=lambda item: item[1][0].first.ratio_target):
        settings = one_factor_each(members)
        centre = settings.pop(("", ""), None)
        if centre is None or not settings:
            continue
        seeds = sorted(set.intersection(*(set(c.by_seed()) for c in (centre, *settings.values()))))
        if len(seeds) < 2:
            continue
        layout = _layout([centre, *settings.values()], seeds)
        found = _effects(recipe, settings, layout)
        effects += found
        spreads += _spreads(recipe, found, layout)
        noise.append(_noise(recipe, centre, layout))
    return SensitivityReport(
        sweep=trials[0].record.sweep if trials else "",
        effects=tuple(effects),
        spreads=tuple(spreads),
        noise=tuple(noise),
        verdicts=tuple(_verdicts(effects)),
    )


def _layout(members: Sequence[Configuration], seeds: Sequence[int]) -> PairedLayout:
    """The paired table of search-split retention in points, the centre first."""
    values = [[_points(trials[s]) for s in seeds] for trials in (c.by_seed() for c in members)]
    return paired_layout(np.array(values))


def _points(trial: Trial) -> float:
    """Search-split retention in points; a completed trial has one."""
    retention, _ = trial.retention("search")
    assert retention is not None
    return 100 * retention


def _effects(
    recipe: str, settings: dict[tuple[str, str], Configuration], layout: PairedLayout
) -> list[SettingEffect]:
    half = t_factor(layout.degrees) * layout.deviation * math.sqrt(2 / layout.seeds)
    centre, *others = layout.means
    found = []
    for (factor, level), mean in zip(settings, others, strict=True):
        away = mean - centre
        effect = Effect(name=f"{factor} {level}", estimate=away, low=away - half, high=away + half,
                        runs=layout.seeds)  # fmt: skip
        found.append(SettingEffect(recipe=recipe, factor=factor, level=level, effect=effect))
    return found


def _spreads(
    recipe: str, found: Sequence[SettingEffect], layout: PairedLayout
) -> list[FactorSpread]:
    rows = []
    for factor in dict.fromkeys(f.factor for f in found):
        reached = [0.0, *(f.effect.estimate for f in found if f.factor == factor)]
        spread = max(reached) - min(reached)
        apart = spread / layout.deviation if layout.deviation else 0.0
        rows.append(FactorSpread(recipe=recipe, factor=factor, levels=len(reached), spread=spread,
                                 spread_in_deviations=apart))  # fmt: skip
    return rows


def _noise(recipe: str, centre: Configuration, layout: PairedLayout) -> SeedNoise:
    values = [_points(t) for t in centre.by_seed().values()]
    deviation, low, high = deviation_interval(values)
    return SeedNoise(
        recipe=recipe,
        retention=float(np.mean(values)),
        deviation=deviation,
        low=low,
        high=high,
        runs=len(values),
        residual=layout.deviation,
    )


def _verdicts(effects: Sequence[SettingEffect]) -> list[Verdict]:
    rows = []
    for factor, level in dict.fromkeys((e.factor, e.level) for e in effects):
        own = [e for e in effects if (e.factor, e.level) == (factor, level)]
        harmful = [e for e in own if e.effect.high < 0 and e.effect.low < -MARGIN]
        robust = all(e.effect.low > -MARGIN for e in own)
        worst = min(harmful or own, key=lambda e: e.effect.low)  # what the verdict is due to
        rows.append(
            Verdict(
                factor=factor,
                level=level,
                recipes=len(own),
                worst=worst.effect.estimate,
                worst_low=worst.effect.low,
                worst_recipe=worst.recipe,
                verdict="robust" if robust else "harmful" if harmful else "undecided",
            )
        )
    return rows
