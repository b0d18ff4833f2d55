"""The spider plot: retention by task.

A line per trial, in colours that stay apart with every common kind of colour blindness, each with
its own marker; the dense base is the dashed ring at 100 %. Bars are 95 % intervals; every line is
turned by a degree so that they do not hide each other. Published lines are grey, dotted or
broken.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from analysis.draw.looks import (
    FONT,
    GREY,
    GRID,
    INK,
    LINE_COLOURS,
    LINE_SYMBOLS,
    Figure,
    heading,
)
from analysis.draw.spider import Spider, SpiderLine
from analysis.published.overlay import LABEL

SIZE = (7.6, 6.2)  # inches of the PNG: 1520 x 1240 pixels
GREYS = ("#555555", "#6E6E6E", "#888888", "#9E9E9E")
DASHES = ("dot", "dashdot", "dash", "longdashdot")
TURN = 1.3  # degrees between neighbouring lines


def spider_title(spider: Spider) -> str:
    """The headline."""
    return f"{spider.sweep}: retention by task, {spider.split} split"


def spider_note(spider: Spider) -> str:
    """What the picture shows, in a few sentences."""
    parts = [
        f"Retention by task in percent of the dense base (dashed ring); the centre is "
        f"{radius_floor(spider):.0f} %, bars are 95 % intervals of the paired difference, each by "
        "itself, over the choice of questions."
    ]
    if spider.published:
        parts.append(f"Grey: {LABEL}.")
    if spider.omitted:
        parts.append(f"Not drawn: {', '.join(spider.omitted)}.")
    return " ".join(parts)


def spider_figure(spider: Spider) -> Figure:
    """The spider plot."""
    floor, top = radius_floor(spider), radius_top(spider)
    angles = _angles(spider)
    ring = list(range(0, 361, 3))
    traces: list[dict[str, Any]] = [
        {"type": "scatterpolar", "mode": "lines", "name": "dense base", "theta": ring,
         "r": [100] * len(ring), "line": {"color": INK, "dash": "dash", "width": 1.4},
         "hoverinfo": "skip"}
    ]  # fmt: skip
    for place, line in enumerate(spider.published):
        colour, dash = GREYS[place % len(GREYS)], DASHES[place % len(DASHES)]
        style = {"color": colour, "dash": dash, "width": 1.4}
        traces.append(_trace(spider, line, 0.0, f"{line.label}, published", line=style))
    for place, line in enumerate(spider.lines):
        colour, symbol = (
            LINE_COLOURS[place % len(LINE_COLOURS)],
            LINE_SYMBOLS[place % len(LINE_SYMBOLS)],
        )
        turn = TURN * (place - (len(spider.lines) - 1) / 2)
        bars: dict[str, list[float | None]] = {"theta": [], "r": []}
        for angle, spoke in zip(angles, line.spokes, strict=True):
            if spoke.low is not None and spoke.high is not None:
                bars["theta"] += [angle + turn, angle + turn, None]
                bars["r"] += [max(floor, 100 * spoke.low), 100 * spoke.high, None]
        group = {"legendgroup": line.label}
        traces.append(
            {"type": "scatterpolar", "mode": "lines", "showlegend": False, "hoverinfo": "skip",
             "line": {"color": colour, "width": 1}, **bars, **group}
        )  # fmt: skip
        look = {"line": {"color": colour, "width": 2},
                "marker": {"symbol": symbol, "size": 8, "color": colour}}  # fmt: skip
        traces.append(_trace(spider, line, turn, line.label, **look, **group))
    beside = 90 - 180 / len(spider.tasks)  # between the first two spokes
    note = f"bars: 95 % intervals over questions; centre: {floor:.0f} %"
    layout = {
        "title": heading(spider_title(spider)),
        "polar": {
            "bgcolor": "white",
            "radialaxis": {"range": [floor, top], "gridcolor": GRID, "angle": beside,
                           "tickangle": beside, "ticksuffix": " %",
                           "tickvals": _ticks(floor, top),
                           "tickfont": {"color": GREY, "size": 11}},
            "angularaxis": {"tickmode": "array", "tickvals": angles, "gridcolor": GRID,
                            "ticktext": list(spider.tasks), "rotation": 90,
                            "direction": "clockwise"},
        },
        "font": FONT,
        "margin": {"l": 75, "r": 30, "t": 80, "b": 70},
        "meta": {"note": note + (f"\ngrey: {LABEL}" if spider.published else "")},
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


def _trace(
    spider: Spider, model: SpiderLine, turn: float, name: str, **look: Any
) -> dict[str, Any]:
    """The closed line, with gaps where there is no retention."""
    angles = [angle + turn for angle in _angles(spider)]
    values = [None if s.retention is None else 100 * s.retention for s in model.spokes]
    return {
        "type": "scatterpolar",
        "mode": "lines+markers" if "marker" in look else "lines",
        "name": escape(name),
        "theta": [*angles, angles[0]],
        "r": [*values, values[0]],
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
