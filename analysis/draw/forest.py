"""Forest plots: one row per effect, its estimate and its 95 % interval, zero as a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.draw.frontier_figure import COLOURS, GREY, GRID, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXIS = "Points of retention (95 % intervals)"
COLOUR = COLOURS["layerwise"]


class Row(NamedTuple):
    """One interval and its label."""

    label: str
    estimate: float
    low: float
    high: float


def draw_forest(
    axes: Axes, rows: Sequence[Row], title: str, labels: Sequence[str] | None = None
) -> None:
    """Draw rows, the first on top, into matplotlib axes.

    Args:
        axes: where to.
        rows: the effects.
        title: of the plot.
        labels: of the rows to leave room for, so that plots side by side share theirs; by default
            those of `rows`.
    """
    places = list(labels or [row.label for row in rows])
    axes.errorbar(
        [r.estimate for r in rows],
        [places.index(r.label) for r in rows],
        xerr=[[r.estimate - r.low for r in rows], [r.high - r.estimate for r in rows]],
        fmt="o", ms=5, lw=1.4, capsize=2.5, color=COLOUR,
    )  # fmt: skip
    axes.axvline(0, color=GREY, lw=1.2, zorder=1)
    axes.set_yticks(range(len(places)), places)
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(AXIS)
    axes.set_title(title, loc="left", fontweight="bold", fontsize=10)


def plotly_forest(rows: Sequence[Row], title: str) -> dict[str, Any]:
    """The same as plotly's plain data."""
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [r.estimate for r in rows],
        "y": list(range(len(rows))),
        "text": [f"{r.label}<br>{r.estimate:+.2f} ({r.low:+.2f} to {r.high:+.2f})" for r in rows],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": 9, "color": COLOUR},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [r.high - r.estimate for r in rows],
            "arrayminus": [r.estimate - r.low for r in rows],
        },
    }
    layout = {
        "title": {"text": f"<b>{title}</b>", "x": 0.02},
        "xaxis": {"title": {"text": AXIS}, "gridcolor": GRID, "zerolinecolor": GREY},
        "yaxis": {
            "tickvals": list(range(len(rows))),
            "ticktext": [r.label for r in rows],
            "range": [len(rows) - 0.4, -0.6],
            "gridcolor": "white",
            "automargin": True,
        },
        "plot_bgcolor": "white",
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 14, "color": INK},
    }
    return {"data": [trace], "layout": layout}
