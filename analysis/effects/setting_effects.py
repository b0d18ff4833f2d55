"""How much each setting around a recipe matters, at each ratio, and which settings are safe at all.

One factor at a time: a recipe, which has the most common value of every factor, and the
configurations that differ from it in one setting; nothing but the records is needed to find them.
Each was run with the same seeds, so effects are paired; all answered the same questions of the
search split, and nothing was chosen, so nothing flatters.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from analysis.contrasts import Effect, PairedLayout, deviation_interval, paired_layout, t_factor
from analysis.effects.configurations import Configuration, configurations
from analysis.load import Trial
from trainables.specs import Frozen

FACTORS = ("learning rate", "LoRA rank", "loss weights", "budget")
Values = dict[str, tuple[float, ...]]

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
            recipes.setdefault(_recipe(configuration.first), []).append(configuration)
    effects: list[SettingEffect] = []
    spreads: list[FactorSpread] = []
    noise: list[SeedNoise] = []
    for recipe, members in sorted(recipes.items(), key=lambda item: item[1][0].first.ratio_target):
        centre, settings = _one_factor_each(members)
        if centre is None or not settings:
            continue
        by_seed = [c.by_seed() for c in (centre, *settings.values())]
        seeds = sorted(set.intersection(*map(set, by_seed)))
        if len(seeds) < 2:
            continue
        layout = paired_layout(np.array([[_points(own[s]) for s in seeds] for own in by_seed]))
        found = _effects(recipe, list(settings), layout)
        effects += found
        spreads += _spreads(recipe, found, layout)
        values = [_points(t) for t in by_seed[0].values()]
        deviation, low, high = deviation_interval(values)
        noise.append(
            SeedNoise(recipe=recipe, retention=float(np.mean(values)), deviation=deviation,
                      low=low, high=high, runs=len(values), residual=layout.deviation)
        )  # fmt: skip
    return SensitivityReport(
        sweep=trials[0].record.sweep if trials else "",
        effects=tuple(effects),
        spreads=tuple(spreads),
        noise=tuple(noise),
        verdicts=tuple(_verdicts(effects)),
    )


def _recipe(trial: Trial) -> str:
    """Method, amount, scope and loss terms: what the settings are varied around."""
    recovery = trial.record.spec.recovery
    amount = trial.record.spec.pruning.amount
    return f"{trial.method} {amount}, {recovery.scope} {recovery.loss.terms}"


def _settings(trial: Trial) -> Values:
    """The trial's value of every factor, as numbers."""
    recovery = trial.record.spec.recovery
    (budget,) = recovery.budget.model_dump(exclude_none=True).values()
    return {
        "learning rate": (recovery.resolved_learning_rate or 0.0,),
        "LoRA rank": (float(recovery.lora_rank),),
        "loss weights": recovery.loss.normalised,
        "budget": (float(budget),),
    }


def _one_factor_each(
    members: Sequence[Configuration],
) -> tuple[Configuration | None, dict[tuple[str, str], Configuration]]:
    """The recipe itself, and the configurations that differ from it in one factor by their level.

    A sweep that varies one factor at a time leaves each factor alone in most of its configurations.
    Ties go to the older configuration.
    """
    values = [_settings(c.first) for c in members]
    centre = {f: Counter(v[f] for v in values).most_common(1)[0][0] for f in FACTORS}
    itself: Configuration | None = None
    found: dict[tuple[str, str], Configuration] = {}
    order: dict[tuple[str, str], tuple[int, tuple[float, ...]]] = {}
    for configuration, own in zip(members, values, strict=True):
        changed = [f for f in FACTORS if own[f] != centre[f]]
        if not changed:
            itself = configuration
        elif len(changed) == 1:
            (factor,) = changed
            key = factor, _level(factor, own, centre, configuration.first)
            found[key], order[key] = configuration, (FACTORS.index(factor), own[factor])
    return itself, {key: found[key] for key in sorted(found, key=order.__getitem__)}


def _level(factor: str, own: Values, centre: Values, trial: Trial) -> str:
    """How the level is shown: a multiple of the recipe's value, a rank, or the weights."""
    if factor == "LoRA rank":
        return f"{own[factor][0]:g}"
    if factor == "loss weights":
        weights = trial.record.spec.recovery.loss.weights
        total = sum(weights.values())
        return ", ".join(f"{name} {weight / total:.2f}" for name, weight in weights.items())
    return f"x {own[factor][0] / centre[factor][0]:.3g}"


def _points(trial: Trial) -> float:
    """Search-split retention of what was trained, in points; a completed trial has one."""
    retention = trial.trained_retention
    assert retention is not None
    return 100 * retention


def _effects(
    recipe: str, settings: Sequence[tuple[str, str]], layout: PairedLayout
) -> list[SettingEffect]:
    half = t_factor(layout.degrees) * layout.deviation * math.sqrt(2 / layout.seeds)
    found = []
    for (factor, level), mean in zip(settings, layout.means[1:], strict=True):
        away = mean - layout.means[0]
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
