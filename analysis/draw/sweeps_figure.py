"""Frontiers of several sweeps in one picture: a colour and a symbol for each."""

from collections.abc import Sequence
from html import escape
from typing import Any

from analysis.axes import AXES
from analysis.draw.frontier_figure import arms, hover, on_top_last
from analysis.draw.looks import FONT, GRID, INK, LINE_COLOURS, LINE_SYMBOLS, Figure, heading
from analysis.frontier import Frontier


def sweeps_figure(frontiers: Sequence[Frontier]) -> Figure:
    """The frontiers over one axis; models that were not pruned are not drawn.

    They are stars in the pictures of the single sweeps.
    """
    x = frontiers[0].x
    traces: list[dict[str, Any]] = []
    for place, frontier in enumerate(frontiers):
        own = [p for p in frontier.points if p.origin != "reference"]
        if not own:
            continue
        colour = LINE_COLOURS[place % len(LINE_COLOURS)]
        heights = [100 * p.retention for p in own]
        reached = [(100 * p.retention_low, 100 * p.retention_high) for p in own]
        bars = {"type": "data", "thickness": 1.2, "width": 3, "symmetric": False}
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": escape(frontier.sweep),
                "x": [p.value(x) or 0.0 for p in own],
                "y": heights,
                "line": {"shape": "hv", "color": colour, "width": 1.6},
                "marker": {
                    "symbol": LINE_SYMBOLS[place % len(LINE_SYMBOLS)], "size": 10, "color": colour,
                    "line": {"color": "white", "width": 1},
                },
                "error_y": bars | arms(reached, heights),
                "text": [f"<b>{escape(frontier.sweep)}</b><br>{hover(p)}" for p in own],
                "hovertemplate": "%{text}<extra></extra>",
                "zorder": 5,
            }
        )  # fmt: skip
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": INK, "ticks": "outside"}
    layout = {
        "title": heading("Frontiers of the sweeps"),
        "xaxis": {**axis, "title": {"text": AXES[x].title}},
        "yaxis": {**axis, "title": {"text": "Retention of the dense average (%)"}},
        "plot_bgcolor": "white",
        "font": FONT,
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"color": INK}},
        "meta": {"empty": "no frontier yet"},
    }
    return {"data": on_top_last(traces), "layout": layout}
