"""The picture of a frontier, and of published points under it.

Colour is the method, shape is what recovery trained. Filled is the frontier, with a white dot in
the points that a cheaper one may equal (standing `within noise`); hollow are the points below it
that may belong to it, pale those that are certainly dominated, small and hollow those that were
scored on the search split only. An unpruned model is a star, hollow on an axis where it does not
compete. Bars are 95 % intervals, of the retention and of a latency. Published points are hollow
diamonds on thin lines, without bars.
"""

import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

from analysis.axes import AXES
from analysis.draw.looks import (
    BESIDE,
    DOMINATED,
    FONT,
    GREY,
    GRID,
    GUESSING,
    INK,
    METHODS,
    NEAR,
    SCOPES,
    SEARCH_ONLY,
    Figure,
    Group,
    drawn_method,
    groups,
    heading,
    names,
    tint,
)
from analysis.frontier import Frontier
from analysis.points import Point
from analysis.published.overlay import LABEL, RECOVERIES, Overlay, PublishedPoint
from analysis.tables import number, percent, with_error, with_interval

SIZE = (7.6, 5.2)  # inches of the PNG: 1520 x 1040 pixels
DASHES = {"none": "dot", "sft+l2": "dash"}  # of published series, by recovery
LAYERS = {
    BESIDE: 2,
    GUESSING: 2,
    SEARCH_ONLY: 2,
    DOMINATED: 3,
    NEAR: 5,
}  # the frontier lies above them
PALE = 0.45
LONGEST = 26  # characters of a line of the legend on paper
EQUALLED = "may equal a cheaper one"


def frontier_figure(frontier: Frontier, overlay: Overlay | None = None) -> Figure:
    """The frontier; hovering tells a point's configuration, the legend switches groups."""
    drawn = list(groups(frontier))
    traces = _overlay_traces(overlay) if overlay else []
    if frontier.points:
        traces.append(
            {"type": "scatter", "mode": "lines", **_step(frontier), "name": "frontier", "zorder": 5,
             "line": {"shape": "hv", "color": GREY, "width": 2}, "hoverinfo": "skip"}
        )  # fmt: skip
    traces += [_trace(group, frontier.x) for group in drawn]
    if dotted := [p for p in frontier.points if p.standing == "within noise"]:
        edge = {"color": GREY, "width": 0.5}
        look = {"color": "white", "symbol": "circle", "size": 4, "line": edge}
        traces.append(
            {"type": "scatter", "mode": "markers", **_places(dotted, frontier.x), "marker": look,
             "name": EQUALLED, "zorder": 8, "hoverinfo": "skip"}
        )  # fmt: skip
    key = _key(frontier, drawn, traces)
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": INK, "ticks": "outside"}
    layout: dict[str, Any] = {
        "title": heading(escape(frontier_title(frontier))),
        "xaxis": {**axis, "title": {"text": AXES[frontier.x].title}},
        "yaxis": {**axis, "title": {"text": "Retention of the dense average (%)"}},
        "plot_bgcolor": "white",
        "font": FONT,
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"color": INK}},
        "legend": {"groupclick": "toggleitem", "tracegroupgap": 8},
        "margin": {"l": 75, "r": 30, "t": 60, "b": 70},
        "meta": {
            "key": key,
            "columns": 3 if overlay else 4,
            "note": (f"hollow diamonds: {overlay.model}, {LABEL}\n" if overlay else "")
            + "bars: 95 % intervals over questions",
            "empty": "no completed trial yet",
        },
    }
    if frontier.chance_retention is not None:
        level = 100 * frontier.chance_retention
        layout["shapes"] = [
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level,
             "line": {"color": GREY, "dash": "dot", "width": 1.5},
             "label": {"text": "chance", "textposition": "end", "font": {"color": GREY}}}
        ]  # fmt: skip
    return {"data": on_top_last(traces), "layout": layout}


def on_top_last(traces: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The traces by layer, the legend's order kept: of two points, plotly tells the later one."""
    ranked = [trace | {"legendrank": rank} for rank, trace in enumerate(traces, start=1)]
    return sorted(ranked, key=lambda trace: trace.get("zorder", 0))


def frontier_title(frontier: Frontier) -> str:
    """The headline: sweep, split and, for latencies, device."""
    text = f"{frontier.sweep or 'empty sweep'}: frontier on the {frontier.split} split"
    return f"{text}, {frontier.device}" if frontier.device else text


def _places(points: Sequence[Point], x: str) -> dict[str, list[float]]:
    return {"x": [p.value(x) or 0.0 for p in points], "y": [100 * p.retention for p in points]}


def _step(frontier: Frontier) -> dict[str, list[float]]:
    """Corners of the frontier, drawn on to the most expensive point that is shown."""
    corners = _places(frontier.points, frontier.x)
    shown = (*frontier.points, *frontier.dominated, *frontier.unranked, *frontier.guessing)
    last = max(shown, key=lambda p: p.cost(frontier.x))
    corners["x"].append(last.value(frontier.x) or 0.0)
    corners["y"].append(corners["y"][-1])
    return corners


def _trace(group: Group, x: str) -> dict[str, Any]:
    places = _places(group.points, x)
    bars = {"type": "data", "thickness": 1.2, "width": 3, "symmetric": False}
    intervals = [(100 * p.retention_low, 100 * p.retention_high) for p in group.points]
    hollow = group.state in (NEAR, SEARCH_ONLY, BESIDE, GUESSING)
    edge = 1.2 if group.state == SEARCH_ONLY else 1.8
    size = 22 if group.symbol == "star" else 8 if group.state == SEARCH_ONLY else 11
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "name": group.name,
        "legendgroup": group.state,
        "legendgrouptitle": {"text": group.state},
        **places,
        "error_y": bars | arms(intervals, places["y"]),
        "marker": {
            "color": group.colour,
            "symbol": group.symbol + ("-open" if hollow else ""),
            "size": size,
            "line": {"width": edge} if hollow else {"color": "white", "width": 1},
        },
        "opacity": PALE if group.state in (DOMINATED, SEARCH_ONLY, BESIDE, GUESSING) else 1.0,
        "zorder": LAYERS.get(group.state, 6),
        "text": [hover(p) for p in group.points],
        "hovertemplate": "%{text}<extra></extra>",
    }
    if ends := AXES[x].ends:
        reached = [(p.value(ends[0]), p.value(ends[1])) for p in group.points]
        trace["error_x"] = bars | {"color": tint(group.colour, PALE)} | arms(reached, places["x"])
    return trace


def arms(
    ends: Sequence[tuple[float | None, float | None]], middles: Sequence[float]
) -> dict[str, list[float]]:
    """How far intervals reach below and above their middles; not at all where there is none."""
    return {
        "array": [max(0.0, (high or y) - y) for (_, high), y in zip(ends, middles, strict=True)],
        "arrayminus": [max(0.0, y - (low or y)) for (low, _), y in zip(ends, middles, strict=True)],
    }


def _key(
    frontier: Frontier, drawn: Sequence[Group], traces: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The legend on paper: line, star, colours, shapes and states, each once."""

    def entry(name: str, symbol: str, colour: str, size: int = 11, opacity: float = 1.0) -> Any:
        marker = {"symbol": symbol, "color": colour, "size": size}
        if symbol.endswith("-open"):
            marker["line"] = {"width": 1.8 if size == 11 else 1.2}
        return {"mode": "markers", "name": name, "marker": marker, "opacity": opacity}

    stars = [p for g in drawn if g.symbol == "star" for p in g.points]
    own = [p for g in drawn if g.symbol != "star" for p in g.points]
    methods, scopes = {drawn_method(p) for p in own}, {p.scope for p in own}
    keys = [t for t in traces if t["name"] == "frontier"]
    if stars:
        text = textwrap.fill(f"{names(stars)} ({METHODS['none'].label})", LONGEST)
        keys.append(entry(text, "star", METHODS["none"].colour, 20))
    keys += [entry(row.label, "square", row.colour) for m, row in METHODS.items() if m in methods]
    keys += [entry(row.label, row.symbol, GREY) for s, row in SCOPES.items() if s in scopes]
    if any(t["name"] == EQUALLED for t in traces):
        keys.append(entry(EQUALLED, "circle-open-dot", INK))
    if frontier.within_noise:
        keys.append(entry(NEAR, "circle-open", INK))
    if len(frontier.dominated) > len(frontier.within_noise):
        keys.append(entry(DOMINATED, "circle", INK, opacity=0.35))
    states = {g.state for g in drawn}
    if SEARCH_ONLY in states:
        keys.append(entry(SEARCH_ONLY, "circle-open", INK, 8, PALE))
    if BESIDE in states:
        keys.append(entry(BESIDE, "star-open", INK, 20, PALE))
    if GUESSING in states:
        keys.append(entry(GUESSING, "circle-open", INK, opacity=PALE))
    published = [t for t in traces if t.get("legendgroup") == "published"]
    return keys + [t | {"name": f"published: {t['name']}"} for t in published]


def hover(point: Point) -> str:
    """What a page tells of a point (HTML)."""
    lines = [
        f"<b>{escape(point.label)}</b>",
        f"trial {escape(point.trial_id)} ({point.origin})",
        f"retention {with_error(point.retention, point.retention_se)} % ({point.split} split); "
        f"corrected for the choice {with_interval(point)}",
        f"standing: {point.standing}" if point.standing else "",
        f"average {with_error(point.average, point.average_se, 1.0)}",
        f"removed {percent(point.ratio)}, {number(point.weights_mib)} MiB, "
        f"{number(point.tflops)} TFLOPs",
        "" if point.latency_ms is None else f"latency {number(point.latency_ms)} ms",
    ]
    if point.scope != "none":
        rate = "" if point.learning_rate is None else f", lr {point.learning_rate:.2g}"
        rank = "" if point.lora_rank is None else f", LoRA rank {point.lora_rank}"
        lines += [
            f"alpha {point.alpha:.3g}, beta {point.beta:.3g}, gamma {point.gamma:.3g}",
            f"data {100 * point.data_fraction:.3g}%{rate}{rank}",
            f"recovery {number(point.recovery_tflops)} TFLOPs",
        ]
    return "<br>".join(filter(None, lines))


def _overlay_traces(overlay: Overlay) -> list[dict[str, Any]]:
    """The published series, each from the dense model on."""
    dense = [p for p in overlay.points if p.method == "dense"]
    series: dict[tuple[str, str], list[PublishedPoint]] = {}
    for point in overlay.points:
        if point.method != "dense":
            series.setdefault((point.method, point.recovery), list(dense)).append(point)
    return [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": f"{method}, {RECOVERIES[recovery]}",
            "legendgroup": "published",
            "legendgrouptitle": {"text": f"{overlay.model}<br>{LABEL}"},
            "x": [p.x for p in points],
            "y": [100 * p.retention for p in points],
            "line": {"color": METHODS[method].colour, "width": 1.2, "dash": DASHES[recovery]},
            "marker": {
                "symbol": "diamond-open", "size": 9, "color": METHODS[method].colour,
                "line": {"width": 1.2},
            },
            "opacity": 0.75,
            "zorder": 3,
            "text": [_overlay_hover(p, overlay.model) for p in points],
            "hovertemplate": "%{text}<extra></extra>",
        }
        for (method, recovery), points in series.items()
    ]  # fmt: skip


def _overlay_hover(point: PublishedPoint, model: str) -> str:
    lines = [
        f"<b>{escape(model)} {point.method}</b>",
        LABEL,
        f"nominal ratio {percent(point.nominal_ratio)}, {RECOVERIES[point.recovery]}",
        f"retention {100 * point.retention:.2f} %, recomputed; average {point.average:.2f}",
        escape(point.note),
    ]
    return "<br>".join(filter(None, lines))
