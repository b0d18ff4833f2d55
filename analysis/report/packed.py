"""Figures as JSON in a page: hover texts once each, numbers short, and colours for the dark."""

import json
import math
from collections.abc import Mapping
from typing import Any

from analysis.draw.looks import DARK, Figure

DIGITS = 6  # significant ones; a picture shows three
LEAST = 11  # pixels; of two markers on each other plotly tells the smaller, of equal ones the upper


def packed(figures: Mapping[str, Figure]) -> str:
    """What `report.js` reads; it holds no `<`, so that no text of a figure ends its element.

    A point's hover text is the same on most axes and in several pictures, and longer than all its
    numbers.
    """
    texts: dict[str, int] = {}
    plain = {name: _figure(figure, texts) for name, figure in figures.items()}
    content = {"figures": plain, "texts": list(texts), "dark": DARK}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def _figure(figure: Figure, texts: dict[str, int]) -> Figure:
    traces = []
    for trace in [*figure["data"], *_key(figure)]:
        told = {k: v for k, v in trace.items() if k != "text"}
        if "coloraxis" in figure["layout"]:
            told["legendgroup"] = trace.get("name")
            told["showlegend"] = "a" in trace and trace["a"] == [None]
        if isinstance(text := trace.get("text"), list):
            told["told"] = [texts.setdefault(one, len(texts)) for one in text]
            small = trace.get("marker", {}).get("size", LEAST)
            if trace["type"] == "scatter" and small < LEAST:
                told["marker"] = trace["marker"] | {"size": LEAST}
        traces.append(_short(told))
    layout = {k: v for k, v in figure["layout"].items() if k not in ("title", "meta")}
    if "xaxis" in layout:
        above = layout.get("legend", {}).get("yanchor") == "bottom"
        layout["margin"] = {"l": 75, "r": 20, "t": 60 if above else 20, "b": 60}
    empty = figure["layout"].get("meta", {}).get("empty")
    if not figure["data"] and empty:
        layout["annotations"] = [{"text": empty, "showarrow": False, "x": 0.5, "y": 0.5,
                                  "xref": "paper", "yref": "paper"}]  # fmt: skip
    return {"data": traces, "layout": _short(layout)}


def _key(figure: Figure) -> list[Figure]:
    """Entries for the legend of traces whose points have each a colour of its own.

    Plotly draws theirs black, which is not seen by night.
    """
    if "coloraxis" not in figure["layout"]:
        return []
    entries = {entry["name"]: entry for entry in figure["layout"]["meta"]["key"]}
    shown = []
    for trace in figure["data"]:
        if trace.get("name") in entries:
            nowhere = {corner: [None] for corner in "abc"}
            shown.append(entries[trace["name"]] | {"type": trace["type"], **nowhere})
    return shown


def _short(value: Any) -> Any:
    """Plain data with numbers of few digits; what is not finite is null."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    return [_short(v) for v in value] if isinstance(value, list | tuple) else value
