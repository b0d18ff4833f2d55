"""The ternary plot of loss mixtures: corners are pure terms, colour is retention.

The corners are cross-entropy (alpha), distillation of the logits (beta) and of the hidden states
(gamma); a point lies where its normalised weights put it. Shape tells which logits term it is, a
ring marks a mixture that was repeated with other seeds, a star the best of these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analysis.draw.frontier_figure import GREY, GRID, INK
from analysis.effects.mixtures import MixturePoint, MixtureReport
from analysis.tables import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

CORNERS = ("alpha: cross-entropy", "beta: logits", "gamma: hidden states")
SHAPES = {"kl": "o", "reverse_kl": "D", "js": "s", "none": "^"}
SIZES = {"kl": 11.0, "reverse_kl": 5.5, "js": 7.5, "none": 7.0}  # equal weights lie on each other
PLOTLY_SHAPES = {"o": "circle", "D": "diamond", "s": "square", "^": "triangle-up"}
LABELS = {"kl": "KL", "reverse_kl": "reverse KL", "js": "Jensen-Shannon", "none": "no logits term"}
SCALE = "viridis"
HEIGHT = math.sqrt(3) / 2


def place(alpha: float, beta: float, gamma: float) -> tuple[float, float]:
    """Position in a triangle of side 1: alpha on top, beta on the left, gamma on the right."""
    total = alpha + beta + gamma
    return (gamma + alpha / 2) / total, HEIGHT * alpha / total


def colour_range(points: Sequence[MixturePoint]) -> tuple[float, float]:
    """Retentions, in percent, at the ends of the scale.

    The worst tenth shares the lowest colour: one bad mixture would otherwise take all contrast.
    """
    values = sorted(100 * p.search_retention for p in points)
    low, high = values[len(values) // 10], values[-1]
    return low, high if high > low else low + 1.0


def draw_ternary(axes: Axes, report: MixtureReport) -> None:
    """Draw the plot into matplotlib axes."""
    points = report.points
    corners = [place(1, 0, 0), place(0, 1, 0), place(0, 0, 1)]
    for step in (0.25, 0.5, 0.75):
        for start, end in (
            ((step, 1 - step, 0), (step, 0, 1 - step)),
            ((1 - step, step, 0), (0, step, 1 - step)),
            ((1 - step, 0, step), (0, 1 - step, step)),
        ):
            axes.plot(*zip(place(*start), place(*end), strict=True), color=GRID, lw=1, zorder=1)
    axes.plot(*zip(*corners, corners[0], strict=True), color=INK, lw=1.2, zorder=2)
    offsets = ((0, 10), (0, -18), (0, -18))
    for corner, label, offset in zip(corners, CORNERS, offsets, strict=True):
        axes.annotate(label, corner, offset, textcoords="offset points", ha="center")
    low, high = colour_range(points)
    repeated = {m.point.trial_id for m in report.confirmed}
    drawn = None
    for logits, shape in SHAPES.items():
        group = [p for p in reversed(points) if p.logits == logits]  # the best on top
        if not group:
            continue
        x, y = zip(*(place(p.alpha, p.beta, p.gamma) for p in group), strict=True)
        rings = [INK if p.trial_id in repeated else "white" for p in group]
        widths = [1.6 if ring == INK else 0.6 for ring in rings]
        drawn = axes.scatter(
            x, y, c=[100 * p.search_retention for p in group], cmap=SCALE, vmin=low, vmax=high,
            marker=shape, s=SIZES[logits] ** 2, linewidths=widths,
            edgecolors=rings, zorder=4,
        )  # fmt: skip
    if report.best is not None:
        best = report.best.point
        axes.scatter(
            *place(best.alpha, best.beta, best.gamma), marker="*", s=480, c="white",
            edgecolors=INK, linewidths=1.4, zorder=3,
        )  # fmt: skip
    axes.set_aspect("equal")
    axes.set_xlim(-0.12, 1.12)
    axes.set_ylim(-0.12, HEIGHT + 0.1)
    axes.axis("off")
    axes.set_title("Retention by loss mixture (search split)", loc="left", fontweight="bold")
    if drawn is not None:
        figure = axes.get_figure()
        assert figure is not None
        bar = figure.colorbar(drawn, ax=axes, shrink=0.6, extend="min", pad=0.02)
        bar.set_label("retention (%)")
        axes.legend(handles=_legend(report), loc="upper left", fontsize=8.5, frameon=False)


def _legend(report: MixtureReport) -> list[Line2D]:
    from matplotlib.lines import Line2D

    shown = {p.logits for p in report.points}
    handles = [
        Line2D([], [], ls="none", marker=shape, ms=SIZES[logits], color=GREY, mec="white",
               label=LABELS[logits])
        for logits, shape in SHAPES.items()
        if logits in shown
    ]  # fmt: skip
    if report.confirmed:
        for marker, size, label in (("o", 8.0, "repeated"), ("*", 15.0, "best of the repeated")):
            handles.append(
                Line2D([], [], ls="none", marker=marker, ms=size, mfc="white", mec=INK, mew=1.4,
                       label=label)
            )  # fmt: skip
    return handles


def plotly_ternary(report: MixtureReport) -> dict[str, Any]:
    """The plot as plotly's plain data."""
    low, high = colour_range(report.points) if report.points else (0.0, 100.0)
    repeated = {m.point.trial_id for m in report.confirmed}
    traces = []
    for logits, shape in SHAPES.items():
        group = [p for p in reversed(report.points) if p.logits == logits]
        if not group:
            continue
        rings = [p.trial_id in repeated for p in group]
        traces.append(
            {
                "type": "scatterternary",
                "mode": "markers",
                "name": LABELS[logits],
                "a": [p.alpha for p in group],
                "b": [p.beta for p in group],
                "c": [p.gamma for p in group],
                "text": [_hover(p, report) for p in group],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {
                    "symbol": PLOTLY_SHAPES[shape],
                    "size": 1.4 * SIZES[logits],
                    "color": [100 * p.search_retention for p in group],
                    "coloraxis": "coloraxis",
                    "line": {
                        "color": [INK if ring else "white" for ring in rings],
                        "width": [2.0 if ring else 0.8 for ring in rings],
                    },
                },
            }
        )
    axis = {"gridcolor": GRID, "linecolor": INK, "min": 0, "ticks": "outside"}
    sides = zip(("aaxis", "baxis", "caxis"), CORNERS, strict=True)
    return {
        "data": traces,
        "layout": {
            "title": {"text": "<b>Retention by loss mixture (search split)</b>", "x": 0.02},
            "ternary": {
                "sum": 1,
                "bgcolor": "white",
                **{name: {**axis, "title": {"text": label}} for name, label in sides},
            },
            "coloraxis": {
                "colorscale": SCALE.capitalize(),
                "cmin": low,
                "cmax": high,
                "colorbar": {"title": {"text": "retention (%)"}, "len": 0.7},
            },
            "legend": {"x": 0, "y": 1},
            "font": {"family": "Helvetica, Arial, sans-serif", "size": 14, "color": INK},
        },
    }


def _hover(point: MixturePoint, report: MixtureReport) -> str:
    lines = [
        f"<b>{point.terms}</b>",
        f"trial {point.trial_id} ({point.origin})",
        f"alpha {point.alpha:.3f}, beta {point.beta:.3f}, gamma {point.gamma:.3f}",
        f"retention {percent(point.search_retention)}, mean of {point.runs} on the search split",
    ]
    for mixture in report.confirmed:
        if mixture.point.trial_id == point.trial_id:
            lines.append(
                f"report split: {percent(mixture.retention)} "
                f"({percent(mixture.low)} to {percent(mixture.high)}), {mixture.seeds} seeds"
            )
    return "<br>".join(lines)
