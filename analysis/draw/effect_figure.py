"""The pictures of effects: the ternary plot of loss mixtures, and forest plots.

A forest plot has one row per effect, its estimate and its 95 % interval, and zero as a line.
"""

from collections.abc import Sequence
from typing import NamedTuple

from analysis.draw.looks import FONT, GREY, GRID, INK, METHODS, Figure, heading
from analysis.draw.png import draw_png
from analysis.draw.ternary import ternary_figure
from analysis.effects.effect_texts import Report, weights
from analysis.effects.mixtures import MixtureReport
from analysis.effects.setting_effects import SensitivityReport

TERMS_TITLE = "Effect of each term and coefficient (search split)"
BEHIND_TITLE = "Against the best mixture (report split)"
NOTHING = "too few trials yet"
COLOUR = METHODS["layerwise"].colour


class Row(NamedTuple):
    """One interval and its label."""

    label: str
    estimate: float
    low: float
    high: float


def effect_figures(report: Report) -> dict[str, Figure]:
    """The pictures by name: three of loss mixtures, or one per recipe."""
    if isinstance(report, MixtureReport):
        return {
            "ternary": ternary_figure(report),
            "terms": forest_figure(term_rows(report), TERMS_TITLE),
            "behind": forest_figure(behind_rows(report), BEHIND_TITLE),
        }
    labels = [f"{v.factor} {v.level}" for v in report.verdicts]
    return {
        f"recipe-{place}": forest_figure(rows, recipe, labels)
        for place, (recipe, rows) in enumerate(setting_rows(report).items())
    } or {"nothing": forest_figure((), NOTHING)}


def effects_png(report: Report, figures: dict[str, Figure]) -> bytes:
    """The pictures as one PNG; every recipe has its own scale: noise differs by a factor of ten."""
    if isinstance(report, MixtureReport):
        mosaic = (("ternary", "terms"), ("ternary", "behind"))
        return draw_png(figures, (12.6, 5.4), mosaic, (1.25, 1))
    return draw_png(figures, (3.4 + 3.4 * len(figures), 1.6 + 0.3 * len(report.verdicts)))


def term_rows(report: MixtureReport) -> list[Row]:
    """The effects of terms and ratios."""
    return [Row(e.name, e.estimate, e.low, e.high) for e in report.effects]


def behind_rows(report: MixtureReport) -> list[Row]:
    """How far each repeated mixture lies from the best, with the simultaneous margin."""
    return [
        Row(
            f"{weights(m.point)} ({m.point.trial_id.partition('-')[0]})",
            -100 * m.behind,
            -100 * (m.behind + m.margin),
            -100 * (m.behind - m.margin),
        )
        for m in report.confirmed
    ]


def setting_rows(report: SensitivityReport) -> dict[str, list[Row]]:
    """Every setting's effect, by recipe."""
    rows: dict[str, list[Row]] = {}
    for e in report.effects:
        row = Row(f"{e.factor} {e.level}", e.effect.estimate, e.effect.low, e.effect.high)
        rows.setdefault(e.recipe, []).append(row)
    return rows


def forest_figure(rows: Sequence[Row], title: str, labels: Sequence[str] = ()) -> Figure:
    """The rows, the first on top.

    Args:
        rows: the effects.
        title: of the plot.
        labels: of the rows to leave room for, so that plots side by side share theirs; by default
            those of `rows`.
    """
    places = list(labels or [row.label for row in rows])
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [r.estimate for r in rows],
        "y": [places.index(r.label) for r in rows],
        "text": [f"{r.label}<br>{r.estimate:+.2f} ({r.low:+.2f} to {r.high:+.2f})" for r in rows],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": 9, "color": COLOUR, "symbol": "circle"},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [r.high - r.estimate for r in rows],
            "arrayminus": [r.estimate - r.low for r in rows],
        },
    }
    layout = {
        "title": heading(title),
        "xaxis": {
            "title": {"text": "Points of retention (95 % intervals)"},
            "gridcolor": GRID,
            "zerolinecolor": GREY,
            "linecolor": INK,
        },
        "yaxis": {
            "tickvals": list(range(len(places))),
            "ticktext": places,
            "range": [len(places) - 0.4, -0.6],
            "gridcolor": "white",
            "automargin": True,
        },
        "plot_bgcolor": "white",
        "font": FONT,
        "meta": {"empty": NOTHING},
    }
    return {"data": [trace] if rows else [], "layout": layout}
