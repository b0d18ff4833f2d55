"""The picture of a search's course: hypervolume over trials, or over device-hours."""

from collections.abc import Sequence
from typing import Any, Literal

from analysis.course import Moment
from analysis.draw.looks import FONT, GRID, INK, METHODS, Figure, heading

LINES = {  # share -> (name, colour)
    "size": ("frontier over weight memory", METHODS["layerwise"].colour),
    "cost": ("frontiers over recovery cost, mean of the cells", METHODS["widthwise"].colour),
}
Over = Literal["trials", "device_hours"]
TITLES: dict[Over, str] = {"trials": "Trials that have ended", "device_hours": "Device-hours"}
RANDOM = "random search (simulated)"


def course_figure(
    moments: Sequence[Moment], over: Over = "trials", random: Sequence[Moment] = ()
) -> Figure:
    """The shares in steps; those of a random search, which has no device-hours, are dotted."""
    traces = [*_traces(moments, over)]
    if over == "trials" and random:
        traces += _traces(random, over, dotted=True)
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": INK, "ticks": "outside"}
    layout = {
        "title": heading("Hypervolume as the search went on"),
        "xaxis": {**axis, "title": {"text": TITLES[over]}, "rangemode": "tozero"},
        "yaxis": {**axis, "title": {"text": "Hypervolume, % of its box"}},
        "plot_bgcolor": "white",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "font": FONT,
        "meta": {"empty": "no completed trial yet"},
    }
    return {"data": traces, "layout": layout}


def _traces(moments: Sequence[Moment], over: Over, dotted: bool = False) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for share, (name, colour) in LINES.items():
        held = [(m, value) for m in moments if (value := getattr(m, share)) is not None]
        if not held:
            continue
        line = {"color": colour, "width": 2 if not dotted else 1.5, "shape": "hv"}
        found.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"{RANDOM}: {name}" if dotted else name,
                "x": [getattr(m, over) for m, _ in held],
                "y": [100 * value for _, value in held],
                "line": {**line, "dash": "dot"} if dotted else line,
                "hovertemplate": "%{x:.4g}: %{y:.1f} %<extra></extra>",
            }
        )
    return found
