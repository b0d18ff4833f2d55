"""The frontier as one interactive HTML file (plotly) that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from analysis.draw.frontier_figure import (
    DOMINATED,
    FRONTIER,
    GREY,
    GRID,
    INK,
    NEAR,
    SEARCH_ONLY,
    Y_LABEL,
    Group,
    arms,
    groups,
    latency_arms,
    may_be_equalled,
    points_xy,
    step,
    title,
)
from analysis.frontier import Frontier
from analysis.load import AXES
from analysis.points import Point
from analysis.tables import caption, number, percent, with_error

if TYPE_CHECKING:
    from analysis.draw.spider import Spider
    from analysis.published.overlay import Overlay


def draw_html(
    frontier: Frontier,
    overlay: Overlay | None = None,
    spider: Spider | None = None,
    section: str = "",
) -> str:
    """The frontier as a self-contained page (4.8 MB: plotly.js is in it).

    Hovering over a point shows its configuration; the legend switches groups on and off. Below it
    stands retention by task, if there is a `spider`. `section` is HTML that the page ends with.
    """
    figures = {"frontier": plotly_figure(frontier, overlay)}
    notes = [f"{caption(frontier)} Bars are 95 % intervals."]
    if overlay is not None:
        notes.append(overlay.caption)
    if spider is not None:
        from analysis.draw.spider_figure import spider_figure, spider_note

        figures["spider"] = spider_figure(spider)
        notes.append(spider_note(spider))
    return page(title(frontier), figures, notes, section)


def page(
    heading: str, figures: dict[str, dict[str, Any]], notes: Sequence[str], section: str = ""
) -> str:
    """A self-contained page: figures by their element's id, paragraphs of text, then `section`."""
    import plotly.io

    parts: list[str] = []
    for name, figure in figures.items():
        part = plotly.io.to_html(
            figure,
            include_plotlyjs=not parts,  # once, with the first figure
            full_html=not parts,
            validate=False,
            config={"displaylogo": False, "responsive": True},
            default_height="88vh",
            div_id=name,
        )
        parts.append(part)
    style = "font:13px Helvetica,Arial,sans-serif;color:#666;margin:0 2em 1em"
    text = "".join(f'<p style="{style}">{escape(note)}</p>' for note in notes)
    first = parts[0].replace("<head>", f"<head><title>{escape(heading)}</title>", 1)
    before, closing, after = first.rpartition("</body>")
    return f"{before}{''.join(parts[1:])}{text}{section}{closing}{after}"


def plotly_figure(frontier: Frontier, overlay: Overlay | None = None) -> dict[str, Any]:
    """The frontier as plotly's plain data: `data` (traces) and `layout`."""
    traces: list[dict[str, Any]] = []
    if overlay is not None:
        from analysis.draw.published_points import overlay_traces

        traces += overlay_traces(overlay)
    if frontier.points:
        x, y = step(frontier)
        traces.append(
            {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": "frontier",
             "line": {"shape": "hv", "color": GREY, "width": 2}, "hoverinfo": "skip"}
        )  # fmt: skip
    for group in groups(frontier):
        traces.append(_trace(group, frontier))
    dotted = [p for p in frontier.points if may_be_equalled(p, FRONTIER)]
    if dotted:
        x, y = points_xy(dotted, frontier.x)
        look = {"color": "white", "size": 5, "line": {"color": GREY, "width": 0.7}}
        traces.append(
            {"type": "scatter", "mode": "markers", "x": x, "y": y, "marker": look,
             "name": "may be no better than a cheaper one", "hoverinfo": "skip"}
        )  # fmt: skip
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": INK, "ticks": "outside"}
    layout: dict[str, Any] = {
        "title": {"text": f"<b>{escape(title(frontier))}</b>", "x": 0.02},
        "xaxis": {**axis, "title": {"text": AXES[frontier.x]}},
        "yaxis": {**axis, "title": {"text": Y_LABEL}},
        "plot_bgcolor": "white",
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 14, "color": INK},
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"color": INK}},
        "legend": {"groupclick": "toggleitem", "tracegroupgap": 8},
        "margin": {"l": 75, "r": 30, "t": 60, "b": 70},
    }
    if frontier.chance_retention is not None:
        level = 100 * frontier.chance_retention
        layout["shapes"] = [
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level,
             "line": {"color": GREY, "dash": "dot", "width": 1.5},
             "label": {"text": "chance", "textposition": "end", "font": {"color": GREY}}}
        ]  # fmt: skip
    return {"data": traces, "layout": layout}


def _trace(group: Group, frontier: Frontier) -> dict[str, Any]:
    """A plotly trace of the group."""
    x, y = points_xy(group.points, frontier.x)
    bars = {"type": "data", "thickness": 1.2, "width": 3, "symmetric": False}
    hollow = group.state in (NEAR, SEARCH_ONLY)
    below, above = zip(*(arms(p) for p in group.points), strict=True)
    symbol = group.symbol + ("-open" if hollow else "")
    size = 18 if group.symbol == "star" else 8 if group.state == SEARCH_ONLY else 11
    marker: dict[str, Any] = {"color": group.colour, "symbol": symbol, "size": size}
    marker["line"] = {"width": 1.8} if hollow else {"color": "white", "width": 1}
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "name": group.name,
        "legendgroup": group.state,
        "legendgrouptitle": {"text": group.state},
        "x": x,
        "y": y,
        "error_y": {**bars, "array": above, "arrayminus": below},
        "marker": marker,
        "opacity": 0.45 if group.state in (DOMINATED, SEARCH_ONLY) else 1.0,
        "text": [_hover(p) for p in group.points],
        "hovertemplate": "%{text}<extra></extra>",
    }
    if frontier.x == "latency_ms":
        left, right = zip(*(latency_arms(p) for p in group.points), strict=True)
        trace["error_x"] = {**bars, "array": right, "arrayminus": left}
    return trace


def _hover(point: Point) -> str:
    lines = [
        f"<b>{escape(point.label)}</b>",
        f"trial {escape(point.trial_id)} ({point.origin})",
        f"retention {with_error(point.retention, point.retention_se)} % ({point.split} split), "
        f"95 % interval {100 * point.retention_low:.1f} to {100 * point.retention_high:.1f}",
        *([f"standing: {point.standing}"] if point.standing else []),
        f"average {with_error(point.average, point.average_se, 1.0)}",
        f"removed {percent(point.ratio)}, {number(point.weights_mib)} MiB, "
        f"{number(point.tflops)} TFLOPs",
    ]
    if point.latency_ms is not None:
        lines.append(f"latency {number(point.latency_ms)} ms")
    if point.scope != "none":
        rate = "" if point.learning_rate is None else f", lr {point.learning_rate:.2g}"
        rank = "" if point.lora_rank is None else f", LoRA rank {point.lora_rank}"
        lines += [
            f"alpha {point.alpha:.3g}, beta {point.beta:.3g}, gamma {point.gamma:.3g}",
            f"data {100 * point.data_fraction:.3g}%{rate}{rank}",
            f"recovery {number(point.recovery_tflops)} TFLOPs",
        ]
    return "<br>".join(lines)
