"""The pictures of effects: one PNG and one page, for loss mixtures and for sensitivity."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analysis.draw.forest import Row, draw_forest, plotly_forest
from analysis.draw.frontier_figure import INK
from analysis.draw.page import page
from analysis.draw.ternary import draw_ternary, plotly_ternary
from analysis.effects.effect_texts import Report, weights
from analysis.effects.mixtures import MixtureReport
from analysis.effects.setting_effects import SensitivityReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TERMS_TITLE = "Effect of each term and coefficient (search split)"
BEHIND_TITLE = "Against the best mixture (report split)"


def draw_effects_png(report: Report) -> bytes:
    """The pictures as one PNG of 200 dots per inch."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inks = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    style: Any = {"font.size": 9.5} | dict.fromkeys(inks, INK)
    with rc_context(style):
        figure = Figure(dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        if isinstance(report, MixtureReport):
            _draw_mixtures(figure, report)
        else:
            _draw_settings(figure, report)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def draw_effects_html(report: Report) -> str:
    """The pictures as one self-contained page (4.8 MB: plotly.js is in it)."""
    if isinstance(report, MixtureReport):
        figures = {
            "ternary": plotly_ternary(report),
            "terms": plotly_forest(term_rows(report), TERMS_TITLE),
            "behind": plotly_forest(behind_rows(report), BEHIND_TITLE),
        }
    else:
        figures = {
            f"recipe-{place}": plotly_forest(rows, recipe)
            for place, (recipe, rows) in enumerate(setting_rows(report).items())
        } or {"nothing": plotly_forest((), "too few trials yet")}
    return page(f"{report.sweep}: effects", figures, [report.method, report.rule])


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


def _draw_mixtures(figure: Figure, report: MixtureReport) -> None:
    figure.set_size_inches(12.6, 5.4)
    panes = figure.subplot_mosaic(
        [["ternary", "terms"], ["ternary", "behind"]], width_ratios=[1.25, 1]
    )
    if report.points:
        draw_ternary(panes["ternary"], report)
    else:
        _nothing(panes["ternary"])
    _forest(panes["terms"], term_rows(report), TERMS_TITLE)
    _forest(panes["behind"], behind_rows(report), BEHIND_TITLE)


def _draw_settings(figure: Figure, report: SensitivityReport) -> None:
    """One pane per recipe, each with its own scale: noise differs by a factor of ten."""
    by_recipe = setting_rows(report)
    labels = [f"{v.factor} {v.level}" for v in report.verdicts]
    figure.set_size_inches(3.4 + 3.4 * max(1, len(by_recipe)), 1.6 + 0.3 * len(labels))
    panes = figure.subplots(1, max(1, len(by_recipe)), squeeze=False)[0]
    if not by_recipe:
        _nothing(panes[0])
    for place, (recipe, rows) in enumerate(by_recipe.items()):
        draw_forest(panes[place], rows, recipe, labels)
        if place:
            panes[place].tick_params(labelleft=False)


def _forest(axes: Axes, rows: Sequence[Row], title: str) -> None:
    if rows:
        draw_forest(axes, rows, title)
    else:
        _nothing(axes)


def _nothing(axes: Axes) -> None:
    axes.axis("off")
    axes.text(0.5, 0.5, "too few trials yet", transform=axes.transAxes, ha="center")
