"""The picture of what the share of each loss term does: a line each, with its band."""

from collections.abc import Sequence
from typing import Any

from analysis.draw.looks import FONT, GREY, GRID, INK, LINE_COLOURS, Figure, heading
from analysis.effects.weight_curves import WeightCurve


def curves_figure(curves: Sequence[WeightCurve]) -> Figure:
    """The curves over the shares, in percent."""
    traces: list[dict[str, Any]] = []
    for curve, colour in zip(curves, LINE_COLOURS, strict=False):
        shares = [100 * share for share in curve.shares]
        group = {"legendgroup": curve.term, "type": "scatter", "mode": "lines"}
        traces.append(
            group | {
                "x": [*shares, *reversed(shares)], "y": [*curve.high, *reversed(curve.low)],
                "fill": "toself", "opacity": 0.25, "line": {"color": colour, "width": 0},
                "fillcolor": colour, "hoverinfo": "skip", "showlegend": False, "name": curve.term,
            }
        )  # fmt: skip
        traces.append(
            group | {
                "x": shares, "y": list(curve.points), "line": {"color": colour, "width": 2},
                "name": f"{curve.term} (in {curve.trials} configurations)",
                "hovertemplate": f"{curve.term} %{{x:.0f}} %: %{{y:+.2f}}<extra></extra>",
            }
        )  # fmt: skip
    axis = {"gridcolor": GRID, "linecolor": INK, "ticks": "outside", "zerolinecolor": GREY}
    layout = {
        "title": heading("Retention by the share of a loss term"),
        "xaxis": {**axis, "title": {"text": "Share of the term in the loss (%)"}},
        "yaxis": {**axis, "title": {"text": "Points of retention against its lowest share"}},
        "plot_bgcolor": "white",
        "font": FONT,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "meta": {"empty": "too few trials yet"},
    }
    return {"data": traces, "layout": layout}
