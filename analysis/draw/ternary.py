"""The ternary plot of loss mixtures: corners are pure terms, colour is retention.

The corners are cross-entropy (alpha), distillation of the logits (beta) and of the hidden states
(gamma); a point lies where its normalised weights put it. Shape tells which logits term it is, a
ring marks a mixture that was repeated with other seeds, a star the best of these.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from analysis.draw.looks import FONT, GREY, GRID, INK, Figure, heading
from analysis.effects.mixtures import MixturePoint, MixtureReport
from analysis.tables import percent

CORNERS = ("alpha: cross-entropy", "beta: logits", "gamma: hidden states")
# Name, symbol and size by logits term; sizes differ because equal weights lie on each other.
LOGITS = {
    "kl": ("KL", "circle", 16.0),
    "reverse_kl": ("reverse KL", "diamond", 8.0),
    "js": ("Jensen-Shannon", "square", 11.0),
    "none": ("no logits term", "triangle-up", 10.0),
}
RING = {"color": INK, "width": 2.0}
BEST = {"symbol": "star", "size": 34, "color": "white", "line": {"color": INK, "width": 1.8}}


def colour_range(points: Sequence[MixturePoint]) -> tuple[float, float]:
    """Retentions, in percent, at the ends of the scale.

    The worst tenth shares the lowest colour: one bad mixture would otherwise take all contrast.
    """
    values = sorted(100 * p.search_retention for p in points)
    low, high = values[len(values) // 10], values[-1]
    return low, high if high > low else low + 1.0


def ternary_figure(report: MixtureReport) -> Figure:
    """The ternary plot; empty where there are no mixtures."""
    low, high = colour_range(report.points) if report.points else (0.0, 100.0)
    repeated = {m.point.trial_id for m in report.confirmed}
    traces: list[dict[str, Any]] = []
    key: list[dict[str, Any]] = []
    if report.best is not None:
        traces.append(_places([report.best.point]) | {
            "name": "best of the repeated", "marker": BEST, "hoverinfo": "skip"})  # fmt: skip
    for logits, (name, symbol, size) in LOGITS.items():
        group = [p for p in reversed(report.points) if p.logits == logits]  # the best on top
        if not group:
            continue
        rings = [p.trial_id in repeated for p in group]
        marker = {
            "symbol": symbol,
            "size": size,
            "color": [100 * p.search_retention for p in group],
            "coloraxis": "coloraxis",
            "line": {
                "color": [INK if ring else "white" for ring in rings],
                "width": [2.0 if ring else 0.8 for ring in rings],
            },
        }
        text = [_hover(p, report) for p in group]
        traces.append(_places(group) | {
            "name": name, "text": text, "hovertemplate": "%{text}<extra></extra>",
            "marker": marker})  # fmt: skip
        look = {"symbol": symbol, "size": size, "color": GREY}
        key.append({"mode": "markers", "name": name, "marker": look})
    if report.confirmed:
        ring = {"symbol": "circle-open", "size": 12, "color": INK, "line": RING}
        star = {"symbol": "star-open", "size": 23, "color": INK, "line": RING}
        key.append({"mode": "markers", "name": "repeated", "marker": ring})
        key.append({"mode": "markers", "name": "best of the repeated", "marker": star})
    axis = {"gridcolor": GRID, "linecolor": INK, "min": 0, "ticks": "outside"}
    sides = zip(("aaxis", "baxis", "caxis"), CORNERS, strict=True)
    layout = {
        "title": heading("Retention by loss mixture (search split)"),
        "ternary": {
            "sum": 1,
            "bgcolor": "white",
            **{name: {**axis, "title": {"text": label}} for name, label in sides},
        },
        "coloraxis": {
            "colorscale": "Viridis",
            "cmin": low,
            "cmax": high,
            "colorbar": {"title": {"text": "retention (%)"}, "len": 0.7},
        },
        "legend": {"x": 0, "y": 1},
        "font": FONT,
        "meta": {"key": key, "empty": "too few trials yet"},
    }
    return {"data": traces, "layout": layout}


def _places(points: Sequence[MixturePoint]) -> dict[str, Any]:
    return {
        "type": "scatterternary",
        "mode": "markers",
        "a": [p.alpha for p in points],
        "b": [p.beta for p in points],
        "c": [p.gamma for p in points],
    }


def _hover(point: MixturePoint, report: MixtureReport) -> str:
    lines = [
        f"<b>{escape(point.terms)}</b>",
        f"trial {escape(point.trial_id)} ({point.origin})",
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
