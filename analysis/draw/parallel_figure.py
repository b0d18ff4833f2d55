"""Parallel coordinates: every trial as a line through what it was asked and what it came to."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from analysis.axes import AXES
from analysis.draw.looks import FONT, GREY, METHODS, Figure, heading
from analysis.points import Point
from analysis.tables import number

# What was asked, in words and in numbers; numbers of `LOGS` stand by their logarithm.
WORDS = ("method", "scope", "loss_terms")
NUMBERS = ("ratio_target", "data_fraction", "lora_rank", "learning_rate", "alpha", "beta", "gamma")
LOGS = ("data_fraction", "learning_rate", "alpha", "beta", "gamma")
REACHED = ("weights_mib", "latency_ms", "recovery_tflops")
LABELS = {
    "ratio_target": "ratio", "data_fraction": "data", "lora_rank": "LoRA rank",
    "learning_rate": "learning rate", "loss_terms": "loss",
}  # fmt: skip
MOST_WORDS = 12  # on an axis; more cannot be told apart
MOST_LEVELS = 8  # numbers that all have a tick
TICKS = 5
APART = 0.05  # of an axis; ticks that are closer would lie on each other
BELOW = 0.15  # of an axis, where trials stand that have no such number
SCALE = [[0, METHODS["widthwise"].colour], [0.5, GREY], [1, METHODS["layerwise"].colour]]
PLAIN = {"shadow": "none"}


def parallel_figure(points: Sequence[Point]) -> Figure:
    """A line per point; only what varies has an axis, retention on the search split is last."""
    own = [p for p in points if p.origin != "reference" and p.search_retention is not None]
    rows = [p.row for p in own]
    asked = [n for n in dict.fromkeys(n for row in rows for n in row) if n.startswith("factor/")]
    retention = [100 * (p.search_retention or 0.0) for p in own]
    found = [
        _dimension(name, [row.get(name) for row in rows])
        for name in (*WORDS, *NUMBERS, *asked, *REACHED)
    ]
    found.append(_numbers("retention, %", retention, float))
    low, high = (min(retention), max(retention)) if retention else (0.0, 100.0)
    trace = {
        "type": "parcoords",
        "dimensions": [dimension for dimension in found if dimension],
        "line": {"color": retention, "colorscale": SCALE, "cmin": low, "cmax": high},
        "labelangle": -25,
        "labelfont": PLAIN,
        "tickfont": PLAIN,
        "rangefont": PLAIN,
    }
    layout = {
        "title": heading("All trials"),
        "font": FONT,
        "margin": {"l": 20 + 8 * _longest(found), "r": 40, "t": 90, "b": 30},
        "meta": {"empty": "no completed trial yet"},
    }
    return {"data": [trace] if own else [], "layout": layout}


def _longest(found: Sequence[dict[str, Any] | None]) -> int:
    """Characters of the longest tick of the first axis, which stands outside."""
    first = next((dimension for dimension in found if dimension), None)
    return max(map(len, first["ticktext"])) if first else 0


def _dimension(name: str, values: Sequence[Any]) -> dict[str, Any] | None:
    """The axis of a factor; None where it does not vary, or has more words than can be shown."""
    label = LABELS.get(name, AXES[name].column if name in AXES else name.rpartition("/")[2])
    held = [v for v in values if v is not None]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in held):
        if name in LOGS:  # 0 is none
            return _numbers(label, [v or None for v in values], math.log10)
        return _numbers(label, values, float)
    levels = sorted(set(map(str, held)))
    if not 1 < len(levels) <= MOST_WORDS:
        return None
    places = {level: place for place, level in enumerate(levels)}
    return {
        "label": label,
        "values": [places[str(v)] if v is not None else 0 for v in values],
        "tickvals": list(range(len(levels))),
        "ticktext": levels,
    }


def _numbers(
    label: str, values: Sequence[float | None], scale: Callable[[float], float]
) -> dict[str, Any] | None:
    """An axis of numbers; below them, apart, stand trials that have none."""
    levels = sorted({v for v in values if v is not None})
    missing = any(v is None for v in values)
    if len(levels) + missing < 2 or not levels:
        return None
    low, high = scale(levels[0]), scale(levels[-1])
    span = high - low or 1.0
    ticks, texts = list[float](), list[str]()
    for level in levels if len(levels) <= MOST_LEVELS else ():
        if not ticks or scale(level) - ticks[-1] > APART * span:
            ticks.append(scale(level))
            texts.append(f"{level:,}" if isinstance(level, int) else number(level))
    if len(levels) > MOST_LEVELS:
        ticks = [low + span * place / (TICKS - 1) for place in range(TICKS)]
        texts = [number(10**t if scale is math.log10 else t) for t in ticks]
    bottom = low - BELOW * span if missing else low
    if missing:
        ticks, texts = [bottom, *ticks], ["none", *texts]
    return {
        "label": label,
        "values": [bottom if v is None else scale(v) for v in values],
        "range": [bottom, high if high > bottom else bottom + 1],
        "tickvals": ticks,
        "ticktext": texts,
    }
