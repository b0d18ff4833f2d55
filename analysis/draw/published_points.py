"""Published points in the pictures of a frontier: hollow diamonds on thin lines, without bars."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from analysis.draw.frontier_figure import COLOURS, tint
from analysis.published.overlay import LABEL, Overlay, PublishedPoint
from analysis.tables import markdown, number, percent, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

RECOVERIES = {"none": "no recovery", "sft+l2": "SFT + L2"}
DASHES = {"none": ":", "sft+l2": "--"}
PLOTLY_DASHES = {"none": "dot", "sft+l2": "dash"}
HEADER = ("published row", "removed (nominal)", "cost", "average", "retention")


def draw_overlay(axes: Axes, overlay: Overlay) -> list[Line2D]:
    """Draw the published series; returns the legend's entries."""
    from matplotlib.lines import Line2D

    handles = []
    for name, method, recovery, points in _series(overlay):
        colour = tint(COLOURS[method], 0.75)
        look: dict[str, Any] = {
            "color": colour, "linestyle": DASHES[recovery], "linewidth": 1.1, "marker": "D",
            "markersize": 5, "markerfacecolor": "white", "markeredgewidth": 1.0,
        }  # fmt: skip
        axes.plot([p.x for p in points], [100 * p.retention for p in points], zorder=3.5, **look)
        handles.append(Line2D([], [], label=f"published: {name}", **look))
    return handles


def overlay_traces(overlay: Overlay) -> list[dict[str, Any]]:
    """The published series as plotly traces."""
    return [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "legendgroup": "published",
            "legendgrouptitle": {"text": f"{overlay.model}<br>{LABEL}"},
            "x": [p.x for p in points],
            "y": [100 * p.retention for p in points],
            "line": {"color": COLOURS[method], "width": 1.2, "dash": PLOTLY_DASHES[recovery]},
            "marker": {"symbol": "diamond-open", "size": 9, "color": COLOURS[method]},
            "opacity": 0.75,
            "text": [_hover(p, overlay.model) for p in points],
            "hovertemplate": "%{text}<extra></extra>",
        }
        for name, method, recovery, points in _series(overlay)
    ]


def overlay_plain(overlay: Overlay) -> str:
    """The published rows as aligned plain text."""
    return f"{plain(HEADER, _rows(overlay))}\n{overlay.caption}"


def overlay_markdown(overlay: Overlay) -> str:
    """The published rows as a markdown table."""
    return f"{markdown(HEADER, _rows(overlay))}\n\n{overlay.caption}\n"


def _rows(overlay: Overlay) -> list[list[str]]:
    return [
        [
            f"{overlay.model} {p.method}"
            + (f" {RECOVERIES[p.recovery]}" if p.method != "dense" else ""),
            percent(p.nominal_ratio),
            number(p.x),
            f"{p.average:.2f}",
            f"{100 * p.retention:.2f}" + ("*" if p.note else ""),
        ]
        for p in overlay.points
    ]


def _series(overlay: Overlay) -> Iterator[tuple[str, str, str, list[PublishedPoint]]]:
    """(name, method, recovery, points): each begins at the dense model."""
    dense = next(p for p in overlay.points if p.method == "dense")
    for method in ("layerwise", "widthwise"):
        for recovery, name in RECOVERIES.items():
            points = [p for p in overlay.points if (p.method, p.recovery) == (method, recovery)]
            yield f"{method}, {name}", method, recovery, [dense, *points]


def _hover(point: PublishedPoint, model: str) -> str:
    lines = [
        f"<b>{escape(model)} {point.method}</b>",
        LABEL,
        f"nominal ratio {percent(point.nominal_ratio)}, {RECOVERIES[point.recovery]}",
        f"retention {100 * point.retention:.2f} %, recomputed; average {point.average:.2f}",
    ]
    return "<br>".join([*lines, *([escape(point.note)] if point.note else [])])
