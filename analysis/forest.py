"""Forest plots: one row per effect, its estimate and its 95 % interval, zero as a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.figures import GREY, GRID, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe-Ito
AXIS = "Points of retention"
STEP = 0.16  # between the series of one row


class Row(NamedTuple):
    """One interval: its row's label, its series (empty for a plot of one), and three values."""

    label: str
    series: str
    estimate: float
    low: float
    high: float


def draw_forest(axes: Axes, rows: Sequence[Row], title: str) -> None:
    """Draw rows, the first on top, into matplotlib axes; series side by side in their row."""
    labels, series = _names(rows)
    for place, name in enumerate(series):
        group = [r for r in rows if r.series == name]
        y = [labels.index(r.label) + _offset(place, len(series)) for r in group]
        axes.errorbar(
            [r.estimate for r in group], y,
            xerr=[[r.estimate - r.low for r in group], [r.high - r.estimate for r in group]],
            fmt="o", ms=4.5, lw=1.4, capsize=2.5, color=COLOURS[place % len(COLOURS)], label=name,
        )  # fmt: skip
    axes.axvline(0, color=GREY, lw=1.2, zorder=1)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{AXIS} (95 % intervals)")
    axes.set_title(title, loc="left", fontweight="bold")
    if len(series) > 1:
        axes.legend(fontsize=8.5, frameon=False, loc="lower left")


def plotly_forest(rows: Sequence[Row], title: str) -> dict[str, Any]:
    """The same as plotly's plain data."""
    labels, series = _names(rows)
    traces = []
    for place, name in enumerate(series):
        group = [r for r in rows if r.series == name]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [r.estimate for r in group],
                "y": [labels.index(r.label) + _offset(place, len(series)) for r in group],
                "text": [_hover(r) for r in group],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"size": 9, "color": COLOURS[place % len(COLOURS)]},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [r.high - r.estimate for r in group],
                    "arrayminus": [r.estimate - r.low for r in group],
                },
            }
        )
    return {
        "data": traces,
        "layout": {
            "title": {"text": f"<b>{title}</b>", "x": 0.02},
            "xaxis": {"title": {"text": AXIS}, "gridcolor": GRID, "zerolinecolor": GREY},
            "yaxis": {
                "tickvals": list(range(len(labels))),
                "ticktext": labels,
                "range": [len(labels) - 0.4, -0.6],
                "gridcolor": "white",
                "automargin": True,
            },
            "plot_bgcolor": "white",
            "showlegend": len(series) > 1,
            "font": {"family": "Helvetica, Arial, sans-serif", "size": 14, "color": INK},
        },
    }


def _names(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Labels and series, each once, in their order."""
    return list(dict.fromkeys(r.label for r in rows)), list(dict.fromkeys(r.series for r in rows))


def _offset(place: int, count: int) -> float:
    return STEP * (place - (count - 1) / 2)


def _hover(row: Row) -> str:
    interval = f"{row.low:+.2f} to {row.high:+.2f}"
    return f"{row.label} {row.series}<br>{row.estimate:+.2f} ({interval}) points"
