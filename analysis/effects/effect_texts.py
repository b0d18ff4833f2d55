"""Effects in words: markdown for files, MLflow and pipes, the same drawn in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.effects.factor_effects import FactorEffect, FactorReport
from analysis.effects.mixtures import MixturePoint, MixtureReport
from analysis.effects.setting_effects import SensitivityReport
from analysis.tables import percent
from analysis.text_table import TextTable, say

if TYPE_CHECKING:
    from rich.console import Console

Report = MixtureReport | SensitivityReport | FactorReport

MIXTURES = ("mixture", "trial", "origin", "alpha", "beta", "gamma", "retention", "95 % interval",
            "behind", "margin", "told apart")  # fmt: skip
MIXTURES_FIRST = ("trial", "mixture", "retention", "95 % interval", "told apart")
VERDICTS = ("factor", "level", "verdict", "at", "effect there", "its lower end", "recipes")
SPREADS = ("recipe", "factor", "levels", "spread", "in seed deviations")
NOISE = ("recipe", "retention", "deviation", "95 % interval", "seeds", "residual")
FACTORS = ("factor", "level", "against", "points", "95 % interval", "told apart", "pairs",
           "least to most")  # fmt: skip
EFFECTS = ("effect", "points", "95 % interval", "trials")


def effects_summary(report: Report) -> str:
    """The outcome in one or two sentences."""
    if isinstance(report, MixtureReport):
        return _verdict(report)
    if isinstance(report, FactorReport):
        return _told(report)
    robust, harmful = (
        ", ".join(f"{v.factor} {v.level}" for v in report.verdicts if v.verdict == verdict)
        for verdict in ("robust", "harmful")
    )
    return f"Robust at every ratio: {robust or 'nothing'}. Harmful at some: {harmful or 'nothing'}."


def effects_markdown(report: Report) -> str:
    """The outcome as markdown: sentences and tables."""
    parts = (p.markdown() if isinstance(p, TextTable) else p for p in effect_parts(report))
    return "\n\n".join(parts) + "\n"


def show_effects(report: Report, console: Console) -> None:
    """The same in a terminal: headings, sentences, and tables that fit."""
    for part in effect_parts(report):
        if isinstance(part, TextTable):
            part.show(console)
        elif part.startswith("#"):
            console.print(part.lstrip("# "), style="bold", markup=False)
        else:
            say(console, part)
        console.print()


def effect_parts(report: Report) -> list[str | TextTable]:
    """Headings, which begin with `#`, sentences and tables."""
    if isinstance(report, MixtureReport):
        return _mixture_parts(report)
    if isinstance(report, FactorReport):
        return _factor_parts(report)
    return _sensitivity_parts(report)


def _mixture_parts(report: MixtureReport) -> list[str | TextTable]:
    """The best mixture, those that cannot be told apart from it, and the effect of each term."""
    parts: list[str | TextTable] = [f"# Loss mixtures: {report.sweep}", _verdict(report)]
    if report.confirmed:
        rows = [
            [
                m.point.terms,
                m.point.trial_id,
                m.point.origin,
                *(f"{weight:.3f}" for weight in (m.point.alpha, m.point.beta, m.point.gamma)),
                percent(m.corrected),
                f"{100 * m.low:.1f} to {100 * m.high:.1f}",
                f"{100 * m.behind:.2f}",
                f"{100 * m.margin:.2f}",
                "-" if m is report.best else "no" if m.tied else "yes",
            ]
            for m in report.confirmed
        ]
        parts += [TextTable(MIXTURES, rows, first=MIXTURES_FIRST), report.rule]
        if not report.questions:
            parts.append("The samples were not kept, so the margins hold for these questions only.")
    if report.effects:
        effects = [
            [e.name, f"{e.estimate:+.2f}", f"{e.low:+.2f} to {e.high:+.2f}", str(e.runs)]
            for e in report.effects
        ]
        parts += [
            "## Effect of each term and coefficient",
            TextTable(EFFECTS, effects),
            report.method,
        ]
    return parts


def _sensitivity_parts(report: SensitivityReport) -> list[str | TextTable]:
    """Which settings are robust, how much each factor matters, and what chance does."""
    title = f"# Sensitivity: {report.sweep}"
    if not report.effects:
        return [title, "No recipe has two settings with two seeds in common yet."]
    verdicts = [
        [v.factor, v.level, v.verdict, v.worst_recipe, f"{v.worst:+.2f}", f"{v.worst_low:+.2f}",
         str(v.recipes)]
        for v in report.verdicts
    ]  # fmt: skip
    spreads = [
        [s.recipe, s.factor, str(s.levels), f"{s.spread:.2f}", f"{s.spread_in_deviations:.1f}"]
        for s in report.spreads
    ]
    noise = [
        [n.recipe, f"{n.retention:.1f}", f"{n.deviation:.2f}", f"{n.low:.2f} to {n.high:.2f}",
         str(n.runs), f"{n.residual:.2f}"]
        for n in report.noise
    ]  # fmt: skip
    return [
        title,
        "## Settings over all recipes",
        TextTable(VERDICTS, verdicts),
        report.rule,
        "## How far the levels of each factor lie apart",
        TextTable(SPREADS, spreads),
        "## What chance does to the recipe itself",
        TextTable(NOISE, noise),
        report.method,
    ]


def _factor_parts(report: FactorReport) -> list[str | TextTable]:
    """What each factor does, and what cannot be told."""
    rows = [
        [
            e.factor,
            e.level,
            e.against,
            f"{e.effect.estimate:+.1f}",
            f"{e.effect.low:+.1f} to {e.effect.high:+.1f}",
            "yes" if e.told else "no",
            str(e.pairs or "fit"),
            f"{e.least:+.1f} to {e.most:+.1f}" if e.least is not None else "-",
        ]
        for e in report.effects
    ]
    parts: list[str | TextTable] = [f"# Factors of {report.sweep}", _told(report)]
    if rows:
        parts += [TextTable(FACTORS, rows), f"{report.rule} {report.method}"]
    return parts


def _told(report: FactorReport) -> str:
    """What mattered, what did not show, and what cannot be told."""
    told = [f"{_named(e)} ({e.effect.estimate:+.1f} points)" for e in report.effects if e.told]
    same = [_named(e) for e in report.effects if not e.told]
    parts = [f"What mattered: {', '.join(told) or 'nothing that can be told'}."]
    if same:
        parts.append(f"Not told apart from no effect: {', '.join(same)}.")
    if report.untold:
        whys: dict[str, list[str]] = {}
        for one in report.untold:
            whys.setdefault(one.why, []).append(one.factor)
        texts = "; ".join(f"{', '.join(names)} ({why})" for why, names in whys.items())
        parts.append(f"Cannot be told: {texts}.")
    return " ".join(parts)


def _named(one: FactorEffect) -> str:
    return f"{one.factor} {one.level} against {one.against}"


def weights(point: MixturePoint) -> str:
    """A mixture's terms with their normalised weights, e.g. `0.50 ce + 0.50 l2`, or `ce`."""
    if "+" not in point.terms:
        return point.terms
    named = (("ce", point.alpha), (point.logits, point.beta), (point.hidden, point.gamma))
    return " + ".join(f"{weight:.2f} {name}" for name, weight in named if weight > 0)


def _verdict(report: MixtureReport) -> str:
    best = report.best
    if best is None:
        return "No mixture has been repeated with other seeds yet, so none can be called the best."
    others = ", ".join(weights(m.point) for m in report.tied)
    apart = f"It cannot be told apart from {others}." if others else "It is apart from the others."
    return (
        f"The best mixture is {weights(best.point)}: it keeps {percent(best.corrected)} of the "
        f"dense average on the report split ({percent(best.low)} to {percent(best.high)} "
        f"over {best.seeds} seeds and the questions). {apart}"
    )
