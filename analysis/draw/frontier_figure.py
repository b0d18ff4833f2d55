"""The picture of a frontier: how its points look, and the PNG (`page.py` makes the HTML).

Colour is the method, shape is what recovery trained. Filled is the frontier, with a white dot in
the points that a cheaper one may equal (standing `within noise`); hollow are the points below it
that may belong to it, pale those that are certain to be dominated, small and hollow those that were
scored on the search split only. An unpruned model is a star. Bars are 95 % intervals of the
retention, and quartiles of a latency.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.frontier import Frontier
from analysis.load import AXES
from analysis.points import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from analysis.published.overlay import Overlay

# Okabe-Ito: distinct with every common kind of colour blindness, and in grey.
COLOURS = {"layerwise": "#0072B2", "widthwise": "#D55E00", "none": "#222222"}
SCOPES = {"none": "no recovery", "projector": "projector", "joint": "projector + LoRA"}
SYMBOLS = {"none": "x", "projector": "triangle-up", "joint": "circle"}
MARKERS = {"x": "X", "triangle-up": "^", "circle": "o", "star": "*"}  # plotly's -> matplotlib's
INK, GREY, GRID = "#2B2B2B", "#8A8A8A", "#ECECEC"
Y_LABEL = "Retention of the dense average (%)"
FRONTIER, NEAR, DOMINATED, SEARCH_ONLY = (
    "frontier", "within noise of it", "dominated", "search split only"
)  # fmt: skip


class Group(NamedTuple):
    """Points that look alike.

    `state` is `frontier`, `within noise of it`, `dominated`, `search split only` or, for references
    on the frontier, `not pruned`.
    """

    name: str
    state: str
    colour: str
    symbol: str
    points: list[Point]


def draw_png(frontier: Frontier, overlay: Overlay | None = None) -> bytes:
    """The frontier, and published points if asked for, as a PNG of 1520 x 1040 pixels."""
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
        if overlay is not None:
            from analysis.draw.published_points import draw_overlay
            from analysis.published.overlay import LABEL

            handles += draw_overlay(axes, overlay)
            axes.annotate(f"hollow diamonds: {overlay.model}, {LABEL}", (0, 1), (4, -4),
                          xycoords="axes fraction", textcoords="offset points", va="top",
                          fontsize=8, color=INK, zorder=9)  # fmt: skip
        axes.set(xlabel=AXES[frontier.x], ylabel=Y_LABEL)
        axes.set_title(title(frontier), loc="left", fontsize=11, fontweight="bold")
        bars = "bars: 95 % intervals" + (", quartiles" if frontier.x == "latency_ms" else "")
        axes.set_title(bars, loc="right", fontsize=8, color=GREY)
        if handles:
            columns = min(3 if overlay else 4, (len(handles) + 1) // 2)
            figure.legend(
                handles=handles, loc="outside lower center", ncols=columns, fontsize=8.5,
                handletextpad=0.4, columnspacing=1.6,
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
        _draw_group(axes, group, frontier.x)
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
    if any(may_be_equalled(p, FRONTIER) for p in frontier.points):
        handles["dotted"] = key("may be no better than a cheaper one", marker="$\\odot$", color=INK)
    if frontier.within_noise:
        handles["near"] = key("within noise of the frontier", marker="o",
                              markerfacecolor="white", mec=INK, mew=1.4)  # fmt: skip
    if len(frontier.dominated) > len(frontier.within_noise):
        handles["dominated"] = key("dominated", marker="o", color=tint(INK, 0.35), mec="white")
    if frontier.unranked:
        handles["unranked"] = key(
            "search split only",
            marker="o",
            markersize=5,
            markerfacecolor="white",
            mec=tint(INK, 0.45),
        )
    if frontier.chance_retention is not None:
        level = 100 * frontier.chance_retention
        axes.axhline(level, color=GREY, linestyle=":", linewidth=1.2)
        axes.annotate("chance", (1, level), (-3, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right", color=GREY, fontsize=8)  # fmt: skip
    if not drawn:
        axes.text(0.5, 0.5, "no completed trial yet", transform=axes.transAxes, ha="center")
    return list(handles.values())


def _draw_group(axes: Axes, group: Group, axis: str) -> None:
    """Bars and markers of points that look alike."""
    pale = group.state in (DOMINATED, SEARCH_ONLY)
    hollow = group.state in (NEAR, SEARCH_ONLY)
    colour = tint(group.colour, 0.45 if pale else 1.0)
    layer = {SEARCH_ONLY: 2, DOMINATED: 3, NEAR: 5}.get(group.state, 6)
    shape = MARKERS[group.symbol]
    size = 200 if shape == "*" else 26 if group.state == SEARCH_ONLY else 48
    x, y = points_xy(group.points, axis)
    below, above = zip(*(arms(p) for p in group.points), strict=True)
    left, right = zip(*(latency_arms(p) if axis == "latency_ms" else (0.0, 0.0)
                        for p in group.points), strict=True)  # fmt: skip
    axes.errorbar(x, y, yerr=(below, above), fmt="none", ecolor=colour, elinewidth=1.0, capsize=2,
                  zorder=layer)  # fmt: skip
    if axis == "latency_ms":
        axes.errorbar(x, y, xerr=(left, right), fmt="none", ecolor=tint(group.colour, 0.45),
                      elinewidth=0.8, zorder=2)  # fmt: skip
    axes.scatter(x, y, s=size, marker=shape, zorder=layer + 0.5, c="white" if hollow else colour,
                 linewidths=1.4 if group.state == NEAR else 0.9,
                 edgecolors=colour if hollow else "white")  # fmt: skip
    dotted = [place for place, p in enumerate(group.points) if may_be_equalled(p, group.state)]
    axes.scatter([x[i] for i in dotted], [y[i] for i in dotted], s=5, c="white", linewidths=0,
                 zorder=layer + 0.6)  # fmt: skip


def groups(frontier: Frontier) -> Iterator[Group]:
    """The points by look; groups without points are left out."""
    certain = [p for p in frontier.dominated if p.standing != "within noise"]
    states = (
        (FRONTIER, frontier.points),
        (NEAR, frontier.within_noise),
        (DOMINATED, certain),
        (SEARCH_ONLY, frontier.unranked),
    )
    for state, points in states:
        for method, colour in COLOURS.items():
            for scope, symbol in SYMBOLS.items():
                group = [p for p in points if p.method == method and p.scope == scope]
                if group and method == "none":
                    name = ", ".join(sorted({p.label for p in group})) + " (not pruned)"
                    yield Group(
                        name, "not pruned" if state == FRONTIER else state, colour, "star", group
                    )
                elif group:
                    yield Group(f"{method}, {SCOPES[scope]}", state, colour, symbol, group)


def step(frontier: Frontier) -> tuple[list[float], list[float]]:
    """Corners of the frontier, drawn on to the rightmost point that is shown."""
    x = [p.value(frontier.x) or 0.0 for p in frontier.points]
    y = [100 * p.retention for p in frontier.points]
    shown = (*frontier.points, *frontier.dominated, *frontier.unranked)
    return [*x, max(p.value(frontier.x) or 0.0 for p in shown)], [*y, y[-1]]


def points_xy(points: Sequence[Point], axis: str) -> tuple[list[float], list[float]]:
    """Where the points lie: their cost and their retention in percent."""
    return [p.value(axis) or 0.0 for p in points], [100 * p.retention for p in points]


def arms(point: Point) -> tuple[float, float]:
    """How far the 95 % interval of the retention reaches below and above it, in percent."""
    below, above = point.retention - point.retention_low, point.retention_high - point.retention
    return max(0.0, 100 * below), max(0.0, 100 * above)


def latency_arms(point: Point) -> tuple[float, float]:
    """How far the quartiles of the latency reach below and above its median, in ms."""
    middle = point.latency_ms or 0.0
    lower, upper = point.latency_lower_ms or middle, point.latency_upper_ms or middle
    return max(0.0, middle - lower), max(0.0, upper - middle)


def may_be_equalled(point: Point, state: str) -> bool:
    """Whether a point of the frontier may be no better than one that costs no more."""
    return state in (FRONTIER, "not pruned") and point.standing == "within noise"


def tint(colour: str, strength: float) -> str:
    """`colour` mixed with white; opaque, so that bars and lines do not shine through."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - strength * (255 - part)):02X}" for part in parts)


def title(frontier: Frontier) -> str:
    """The headline: sweep, split and, for latencies, device."""
    text = f"{frontier.sweep or 'empty sweep'}: frontier on the {frontier.split} split"
    return f"{text}, {frontier.device}" if frontier.device else text
