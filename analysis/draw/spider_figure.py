"""The spider plot: retention by task, as PNG and for the HTML page.

A line per trial, in colours that stay apart with every common kind of colour blindness, each with
its own marker; the dense base is the dashed ring at 100 %. Bars are 95 % intervals; every line is
turned by a degree so that they do not hide each other. Published lines are grey, dotted or
broken.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from html import escape
from typing import Any

from analysis.draw.frontier_figure import GREY, GRID, INK
from analysis.draw.spider import Spider, SpiderLine
from analysis.published.overlay import LABEL

# Okabe-Ito without yellow, which fades on white.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_MARKERS = ("o", "s", "^", "D", "v", "P")
PLOTLY_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
GREYS = ("#555555", "#6E6E6E", "#888888", "#9E9E9E")
DASHES: tuple[Any, ...] = (":", "-.", (0, (5, 2)), (0, (8, 2, 1, 2, 1, 2)))
PLOTLY_DASHES = ("dot", "dashdot", "dash", "longdashdot")
TURN = 1.3  # degrees between neighbouring lines


def spider_title(spider: Spider) -> str:
    """The headline."""
    return f"{spider.sweep}: retention by task, {spider.split} split"


def spider_note(spider: Spider) -> str:
    """What the picture shows, in a few sentences."""
    parts = [
        f"Retention by task in percent of the dense base (dashed ring); the centre is "
        f"{radius_floor(spider):.0f} %, bars are 95 % intervals of the paired difference."
    ]
    if spider.published:
        parts.append(f"Grey: {LABEL}.")
    if spider.omitted:
        parts.append(f"Not drawn: {', '.join(spider.omitted)}.")
    return " ".join(parts)


def draw_spider(spider: Spider) -> bytes:
    """The spider plot as a PNG of 1520 x 1240 pixels."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.size": 9.5, "legend.frameon": False, "text.color": INK}):
        figure = Figure(figsize=(7.6, 6.2), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        axes: Any = figure.add_subplot(projection="polar")
        axes.set_theta_zero_location("N")
        axes.set_theta_direction(-1)
        floor, top = radius_floor(spider), radius_top(spider)
        axes.set_ylim(floor, top)
        axes.grid(color=GRID, linewidth=0.9)
        axes.spines["polar"].set_color(GRID)
        steps = _ticks(floor, top)
        label_angle = 180 / len(spider.tasks)  # between the first two spokes
        axes.set_rgrids(steps, [f"{s:.0f}" for s in steps], angle=label_angle, color=GREY, size=8)
        spokes = [math.radians(a) for a in _angles(spider)]
        axes.set_xticks(spokes, spider.tasks)
        axes.tick_params(axis="x", pad=9)
        for text, angle in zip(axes.get_xticklabels(), _angles(spider), strict=True):
            side = math.sin(math.radians(angle))
            text.set_horizontalalignment(
                "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
            )
        ring = [math.radians(a) for a in range(0, 361, 3)]
        axes.plot(ring, [100] * len(ring), color=INK, linestyle="--", linewidth=1.2,
                  label="dense base", zorder=3)  # fmt: skip
        for line, look, dash in zip(spider.published, GREYS, DASHES, strict=False):
            turned, values = _outline(spider, line, 0.0)
            axes.plot(turned, values, color=look, linestyle=dash, linewidth=1.2, zorder=2,
                      label=f"{line.label} (published)")  # fmt: skip
        for place, line in enumerate(spider.lines):
            _draw_line(axes, spider, line, place)
        figure.suptitle(spider_title(spider), x=0.01, ha="left", fontsize=11, fontweight="bold")
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
        remarks = [f"bars: 95 % intervals; centre: {floor:.0f} %"]
        remarks += [f"grey: {LABEL}"] if spider.published else []
        figure.text(0.995, 0.985, "\n".join(remarks), ha="right", va="top", fontsize=8,
                    linespacing=1.5, color=GREY)  # fmt: skip
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def spider_figure(spider: Spider) -> dict[str, Any]:
    """The spider plot as plotly's plain data: `data` (traces) and `layout`."""
    floor, top = radius_floor(spider), radius_top(spider)
    ring = list(range(0, 361, 3))
    traces: list[dict[str, Any]] = [
        {"type": "scatterpolar", "mode": "lines", "name": "dense base", "theta": ring,
         "r": [100] * len(ring), "line": {"color": INK, "dash": "dash", "width": 1.4},
         "hoverinfo": "skip"}
    ]  # fmt: skip
    for line, colour, dash in zip(spider.published, GREYS, PLOTLY_DASHES, strict=False):
        style = {"color": colour, "dash": dash, "width": 1.4}
        traces.append(_trace(spider, line, 0.0, f"{line.label}, published", line=style))
    for place, line in enumerate(spider.lines):
        colour = LINE_COLOURS[place % len(LINE_COLOURS)]
        marker = {"symbol": PLOTLY_SYMBOLS[place % len(PLOTLY_SYMBOLS)], "size": 8}
        turn = _turn(spider, place)
        bars: dict[str, list[float | None]] = {"theta": [], "r": []}
        for angle, spoke in zip(_angles(spider), line.spokes, strict=True):
            if spoke.low is not None and spoke.high is not None:
                bars["theta"] += [angle + turn, angle + turn, None]
                bars["r"] += [max(floor, 100 * spoke.low), 100 * spoke.high, None]
        group = {"legendgroup": line.label}
        traces.append(
            {"type": "scatterpolar", "mode": "lines", "showlegend": False, "hoverinfo": "skip",
             "line": {"color": colour, "width": 1}, **bars, **group}
        )  # fmt: skip
        style = {"color": colour, "width": 2}
        traces.append(_trace(spider, line, turn, line.label, line=style, marker=marker, **group))
    beside = 90 - 180 / len(spider.tasks)  # between the first two spokes
    ticks = {"tickmode": "array", "tickvals": _angles(spider), "ticktext": list(spider.tasks)}
    layout = {
        "title": {"text": f"<b>{spider_title(spider)}</b>", "x": 0.02},
        "polar": {
            "bgcolor": "white",
            "radialaxis": {"range": [floor, top], "gridcolor": GRID, "angle": beside,
                           "tickangle": beside, "ticksuffix": " %",
                           "tickfont": {"color": GREY, "size": 11}},
            "angularaxis": {**ticks, "rotation": 90, "direction": "clockwise", "gridcolor": GRID},
        },
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 14, "color": INK},
        "margin": {"l": 75, "r": 30, "t": 80, "b": 70},
    }  # fmt: skip
    return {"data": traces, "layout": layout}


def radius_floor(spider: Spider) -> float:
    """Percent at the centre: the ten below the lowest end of a bar, less ten, at least 0."""
    lowest = min(_ends(spider), default=100.0)
    return max(0.0, 10.0 * math.floor(lowest / 10) - 10)


def radius_top(spider: Spider) -> float:
    """Percent at the rim: the five above everything."""
    return 5.0 * math.ceil((max([100.0, *_ends(spider)]) + 1) / 5)


def _ends(spider: Spider) -> list[float]:
    return [
        100 * end
        for line in (*spider.lines, *spider.published)
        for spoke in line.spokes
        for end in (spoke.low, spoke.retention, spoke.high)
        if end is not None
    ]


def _ticks(floor: float, top: float) -> list[float]:
    """Rings at multiples of a round step, at most six."""
    step = next(s for s in (5, 10, 20, 25, 50, 100) if (top - floor) / s <= 6)
    first = step * (math.floor(floor / step) + 1)
    return [float(s) for s in range(first, int(top) + 1, step)]


def _angles(spider: Spider) -> list[float]:
    return [360 * place / len(spider.tasks) for place in range(len(spider.tasks))]


def _turn(spider: Spider, place: int) -> float:
    return TURN * (place - (len(spider.lines) - 1) / 2)


def _outline(spider: Spider, line: SpiderLine, turn: float) -> tuple[list[float], list[float]]:
    """(radians, percent) of the closed line; gaps where there is no retention."""
    angles = [math.radians(angle + turn) for angle in _angles(spider)]
    values = [math.nan if s.retention is None else 100 * s.retention for s in line.spokes]
    return [*angles, angles[0]], [*values, values[0]]


def _draw_line(axes: Any, spider: Spider, line: SpiderLine, place: int) -> None:
    colour = LINE_COLOURS[place % len(LINE_COLOURS)]
    angles, values = _outline(spider, line, _turn(spider, place))
    axes.plot(angles, values, color=colour, linewidth=1.7, marker=LINE_MARKERS[place % 6],
              markersize=5, markeredgecolor="white", markeredgewidth=0.6, label=line.label,
              zorder=4 + place / 10)  # fmt: skip
    for angle, spoke in zip(angles, line.spokes, strict=False):
        if spoke.low is not None and spoke.high is not None:
            axes.plot([angle, angle], [100 * spoke.low, 100 * spoke.high], color=colour,
                      linewidth=1.0, zorder=3.5)  # fmt: skip


def _trace(
    spider: Spider, model: SpiderLine, turn: float, name: str, **look: Any
) -> dict[str, Any]:
    radians, values = _outline(spider, model, turn)
    return {
        "type": "scatterpolar",
        "mode": "lines+markers" if "marker" in look else "lines",
        "name": escape(name),
        "theta": [math.degrees(angle) for angle in radians],
        "r": [None if math.isnan(value) else value for value in values],
        "text": _texts(spider.tasks, model),
        "hovertemplate": "%{text}<extra></extra>",
        **look,
    }


def _texts(tasks: Sequence[str], line: SpiderLine) -> list[str]:
    texts = []
    for task, spoke in zip(tasks, line.spokes, strict=True):
        shown = "the dense base scores 0" if spoke.retention is None else (
            f"{100 * spoke.retention:.1f} % of the dense base"
        )  # fmt: skip
        if spoke.low is not None and spoke.high is not None:
            shown += f", 95 % interval {100 * spoke.low:.1f} to {100 * spoke.high:.1f}"
        texts.append(f"<b>{escape(line.label)}</b><br>{escape(task)}: {shown}")
    return [*texts, texts[0]]
