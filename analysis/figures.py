"""The picture of a frontier: how its points look, and the PNG (`page.py` makes the HTML).

Colour is the method, shape is what recovery trained, strength is the outcome: full for the
frontier, tinted for dominated trials, hollow for those that were scored on the search split only.
An unpruned model is a star. Vertical bars are 95 % intervals.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.frontier import Frontier
from analysis.load import AXES, Z_95
from analysis.points import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# Okabe-Ito: distinct with every common kind of colour blindness, and in grey.
COLOURS = {"layerwise": "#0072B2", "widthwise": "#D55E00", "none": "#222222"}
SCOPES = {"none": "no recovery", "projector": "projector", "joint": "projector + LoRA"}
SYMBOLS = {"none": "x", "projector": "triangle-up", "joint": "circle"}
MARKERS = {"x": "X", "triangle-up": "^", "circle": "o", "star": "*"}  # plotly's -> matplotlib's
INK, GREY, GRID = "#2B2B2B", "#8A8A8A", "#ECECEC"
Y_LABEL = "Retention of the dense average (%)"


class Group(NamedTuple):
    """Points that look alike.

    `state` is `frontier`, `dominated`, `search split only` or, for references, `not pruned`.
    """

    name: str
    state: str
    colour: str
    symbol: str
    points: list[Point]


def draw_png(frontier: Frontier) -> bytes:
    """The frontier as a PNG of 1520 x 1040 pixels."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inks = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    style: Any = {"font.size": 9.5, "legend.frameon": False} | dict.fromkeys(inks, INK)
    with rc_context(style):
        figure = Figure(figsize=(7.6, 5.2), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.05, y=0.08)
        handles = _draw(axes, frontier)
        axes.set(xlabel=AXES[frontier.x], ylabel=Y_LABEL)
        axes.set_title(title(frontier), loc="left", fontsize=11, fontweight="bold")
        axes.set_title("bars: 95 % intervals", loc="right", fontsize=8, color=GREY)
        if handles:
            figure.legend(
                handles=handles, loc="outside lower center", ncols=(len(handles) + 1) // 2,
                fontsize=8.5, handletextpad=0.4, columnspacing=1.6,
            )  # fmt: skip
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw(axes: Axes, frontier: Frontier) -> list[Line2D]:
    """Draw the points, the step line and the chance level; returns the legend's entries."""
    from matplotlib.lines import Line2D

    def key(label: str, **look: Any) -> Line2D:
        return Line2D([], [], linestyle="none", label=label, **{"markersize": 7, **look})

    handles: dict[str, Line2D] = {}
    drawn = list(groups(frontier))
    for group in drawn:
        hollow = group.state == "search split only"
        faint = hollow or group.state == "dominated"
        colour = _tint(group.colour, 0.45 if faint else 1.0)
        layer = 3 if hollow else 4 if faint else 6
        shape = MARKERS[group.symbol]
        x = [p.value(frontier.x) or 0.0 for p in group.points]
        y = [100 * p.retention for p in group.points]
        bars = [half_interval(p) for p in group.points]
        axes.errorbar(x, y, yerr=bars, fmt="none", ecolor=colour, elinewidth=1.0, capsize=2,
                      zorder=layer)  # fmt: skip
        axes.scatter(x, y, s=200 if shape == "*" else 48, marker=shape, zorder=layer + 0.5,
                     c="white" if hollow else colour, linewidths=0.9,
                     edgecolors=colour if hollow else "white")  # fmt: skip
    if frontier.points:
        x, y = step(frontier)
        line = axes.step(x, y, where="post", color=GREY, linewidth=1.6, zorder=5, label="frontier")
        handles["frontier"] = line[0]
    if any(g.symbol == "star" for g in drawn):
        names = sorted({p.label for g in drawn if g.symbol == "star" for p in g.points})
        name = f"{', '.join(names)} (not pruned)"
        handles["star"] = key(name, marker="*", markersize=12, color=COLOURS["none"], mec="white")
    pruned = [p for g in drawn if g.symbol != "star" for p in g.points]
    for method, colour in COLOURS.items():
        if any(p.method == method for p in pruned):
            handles[method] = key(method, marker="s", color=colour, mec="white")
    for scope, symbol in SYMBOLS.items():
        if any(p.scope == scope for p in pruned):
            handles[f"scope {scope}"] = key(
                SCOPES[scope], marker=MARKERS[symbol], color=GREY, mec="white"
            )
    if frontier.dominated:
        handles["dominated"] = key("dominated", marker="o", color=_tint(INK, 0.35), mec="white")
    if frontier.unranked:
        handles["unranked"] = key(
            "search split only", marker="o", markerfacecolor="white", mec=_tint(INK, 0.45)
        )
    if frontier.chance_retention is not None:
        level = 100 * frontier.chance_retention
        axes.axhline(level, color=GREY, linestyle=":", linewidth=1.2)
        axes.annotate("chance", (1, level), (-3, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right", color=GREY, fontsize=8)  # fmt: skip
    if not drawn:
        axes.text(0.5, 0.5, "no completed trial yet", transform=axes.transAxes, ha="center")
    return list(handles.values())


def groups(frontier: Frontier) -> Iterator[Group]:
    """The points by look; groups without points are left out."""
    states = (
        ("frontier", frontier.points),
        ("dominated", frontier.dominated),
        ("search split only", frontier.unranked),
    )
    for state, points in states:
        for method, colour in COLOURS.items():
            for scope, symbol in SYMBOLS.items():
                group = [p for p in points if p.method == method and p.scope == scope]
                if group and method == "none":
                    name = ", ".join(sorted({p.label for p in group})) + " (not pruned)"
                    yield Group(name, "not pruned", colour, "star", group)
                elif group:
                    yield Group(f"{method}, {SCOPES[scope]}", state, colour, symbol, group)


def step(frontier: Frontier) -> tuple[list[float], list[float]]:
    """Corners of the frontier, drawn on to the rightmost point that is shown."""
    x = [p.value(frontier.x) or 0.0 for p in frontier.points]
    y = [100 * p.retention for p in frontier.points]
    shown = (*frontier.points, *frontier.dominated, *frontier.unranked)
    return [*x, max(p.value(frontier.x) or 0.0 for p in shown)], [*y, y[-1]]


def half_interval(point: Point) -> float:
    """Half of the 95 % interval, in percent."""
    return 100 * Z_95 * (point.retention_se or 0.0)


def _tint(colour: str, strength: float) -> str:
    """`colour` mixed with white; opaque, so that bars and lines do not shine through."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - strength * (255 - part)):02X}" for part in parts)


def title(frontier: Frontier) -> str:
    """The headline: sweep, split and, for latencies, device."""
    text = f"{frontier.sweep or 'empty sweep'}: frontier on the {frontier.split} split"
    return f"{text}, {frontier.device}" if frontier.device else text
