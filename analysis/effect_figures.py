"""The pictures of effects: one PNG and one page, for loss mixtures and for sensitivity."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from analysis.effect_texts import Report, weights
from analysis.figures import INK
from analysis.forest import Row, draw_forest, plotly_forest
from analysis.mixtures import MixtureReport
from analysis.page import page
from analysis.sensitivity import SensitivityReport
from analysis.ternary import draw_ternary, plotly_ternary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TERMS_TITLE = "Effect of each term and coefficient"
BEHIND_TITLE = "Against the best mixture (report split)"
SETTINGS_TITLE = "Effect of one setting at a time (search split)"


def draw_effects_png(report: Report) -> bytes:
    """The pictures as one PNG of 200 dots per inch."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inks = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    style: Any = {"font.size": 9.5} | dict.fromkeys(inks, INK)
    with rc_context(style):
        rows = setting_rows(report) if isinstance(report, SensitivityReport) else ()
        height = 5.4 if isinstance(report, MixtureReport) else max(3.2, 1.2 + 0.42 * len(set(
            row.label for row in rows)))  # fmt: skip
        width = 12.6 if isinstance(report, MixtureReport) else 7.6
        figure = Figure(figsize=(width, height), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        if isinstance(report, MixtureReport):
            panes = figure.subplot_mosaic([["ternary", "terms"], ["ternary", "behind"]],
                                          width_ratios=[1.25, 1])  # fmt: skip
            _ternary(panes["ternary"], report)
            _forest(panes["terms"], term_rows(report), TERMS_TITLE)
            _forest(panes["behind"], behind_rows(report), BEHIND_TITLE)
        else:
            _forest(figure.add_subplot(), rows, SETTINGS_TITLE)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def draw_effects_html(report: Report) -> str:
    """The pictures as one self-contained page (4.8 MB: plotly.js is in it)."""
    if isinstance(report, SensitivityReport):
        figures = {"settings": plotly_forest(setting_rows(report), SETTINGS_TITLE)}
    else:
        figures = {
            "ternary": plotly_ternary(report),
            "terms": plotly_forest(term_rows(report), TERMS_TITLE),
            "behind": plotly_forest(behind_rows(report), BEHIND_TITLE),
        }
    return page(f"{report.sweep}: effects", figures, [report.method, report.rule])


def term_rows(report: MixtureReport) -> list[Row]:
    """The effects of terms and ratios."""
    return [Row(e.name, "", e.estimate, e.low, e.high) for e in report.effects]


def behind_rows(report: MixtureReport) -> list[Row]:
    """How far each repeated mixture lies from the best, with the simultaneous margin."""
    return [
        Row(
            weights(m.point),
            "",
            -100 * m.behind,
            -100 * (m.behind + m.margin),
            -100 * (m.behind - m.margin),
        )
        for m in report.confirmed
    ]


def setting_rows(report: SensitivityReport) -> list[Row]:
    """Every setting's effect, one series per recipe."""
    order = {(v.factor, v.level): place for place, v in enumerate(report.verdicts)}
    rows = sorted(report.effects, key=lambda e: order[e.factor, e.level])
    return [
        Row(f"{e.factor} {e.level}", e.recipe, e.effect.estimate, e.effect.low, e.effect.high)
        for e in rows
    ]


def _ternary(axes: Axes, report: MixtureReport) -> None:
    if report.points:
        draw_ternary(axes, report)
    else:
        _nothing(axes)


def _forest(axes: Axes, rows: list[Row] | tuple[Row, ...], title: str) -> None:
    if rows:
        draw_forest(axes, rows, title)
    else:
        _nothing(axes)


def _nothing(axes: Axes) -> None:
    axes.axis("off")
    axes.text(0.5, 0.5, "too few trials yet", transform=axes.transAxes, ha="center")
