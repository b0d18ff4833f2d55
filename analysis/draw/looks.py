"""How things look in every picture: a row per pruning method and per scope of the recovery.

Colour is the method, shape is the scope. Colours are those of Okabe and Ito: distinct with every
common kind of colour blindness, and in grey.
"""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any, NamedTuple

from analysis.frontier import Frontier
from analysis.points import Point
from trainables.common.names import unknown

INK, GREY, GRID = "#2B2B2B", "#8A8A8A", "#ECECEC"
FRONTIER, NEAR, DOMINATED, SEARCH_ONLY, BESIDE, GUESSING = (
    "frontier", "within noise of it", "dominated", "search split only",
    "not compared on this axis", "no better than guessing",
)  # fmt: skip
FONT = {"family": "Helvetica, Arial, sans-serif", "size": 14, "color": INK}

# Of lines that stand for models or sweeps: Okabe-Ito without yellow, which fades on white.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")

# Colours of a page by night; those of methods and lines can be seen on either.
DARK = {
    "white": "#1b1b1b", INK: "#e6e6e6", GREY: "#9a9a9a", GRID: "#3a3a3a", "#222222": "#f2f2f2",
    "#0072B2": "#3d9fd6", "#D55E00": "#ee7d2b", "#009E73": "#2bbd92",
}  # fmt: skip

Figure = dict[str, Any]
"""A picture as plotly's plain data: `data` (traces) and `layout`."""


class MethodLook(NamedTuple):
    """A method's name in legends and its colour."""

    label: str
    colour: str


class ScopeLook(NamedTuple):
    """A scope's name in legends and its plotly symbol."""

    label: str
    symbol: str


class Group(NamedTuple):
    """Points that look alike.

    `state` is one of those above or, for references on the frontier, `not pruned`.
    """

    name: str
    state: str
    colour: str
    symbol: str
    points: list[Point]


METHODS: dict[str, MethodLook] = {
    "layerwise": MethodLook("layerwise", "#0072B2"),
    "widthwise": MethodLook("widthwise", "#D55E00"),
    "hybrid": MethodLook("hybrid", "#009E73"),
    "none": MethodLook("not pruned", "#222222"),
}
SCOPES: dict[str, ScopeLook] = {
    "none": ScopeLook("no recovery", "x"),
    "projector": ScopeLook("projector", "triangle-up"),
    "joint": ScopeLook("projector + LoRA", "circle"),
    "full": ScopeLook("full fine-tuning", "square"),
}


def groups(frontier: Frontier) -> Iterator[Group]:
    """The points by look, in the order of the tables.

    Raises:
        ValueError: a method or scope that has no look.
    """
    lost = [p for p in frontier.dominated if p.standing != "within noise"]
    states = (
        (FRONTIER, frontier.points),
        (NEAR, frontier.within_noise),
        (DOMINATED, lost),
        (SEARCH_ONLY, [p for p in frontier.unranked if p.split != frontier.split]),
        (BESIDE, [p for p in frontier.unranked if p.split == frontier.split]),
        (GUESSING, frontier.guessing),
    )
    for state, points in states:
        for point in points:
            if point.method not in METHODS:
                raise ValueError(unknown("method (to draw)", point.method, METHODS))
            if point.scope not in SCOPES:
                raise ValueError(unknown("scope (to draw)", point.scope, SCOPES))
        own = [p for p in points if p.origin != "reference"]
        for (method, look), (scope, shape) in itertools.product(METHODS.items(), SCOPES.items()):
            if group := [p for p in own if (drawn_method(p), p.scope) == (method, scope)]:
                name = f"{look.label}, {shape.label}"
                yield Group(name, state, look.colour, shape.symbol, group)
        if stars := [p for p in points if p.origin == "reference"]:
            look = METHODS["none"]
            reached = look.label if state == FRONTIER else state
            yield Group(f"{names(stars)} ({look.label})", reached, look.colour, "star", stars)


def drawn_method(point: Point) -> str:
    """The method whose colour a point has: none where nothing was removed, whatever was named."""
    return "none" if point.ratio == 0 else point.method


def names(references: Iterable[Point]) -> str:
    """The models, each by the last part of its path."""
    return ", ".join(sorted({PurePath(p.label).name for p in references}))


def tint(colour: str, strength: float) -> str:
    """`colour` mixed with white; opaque, so that bars and lines do not shine through."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - strength * (255 - part)):02X}" for part in parts)


def heading(text: str) -> dict[str, Any]:
    """A title, bold and on the left."""
    return {"text": f"<b>{text}</b>", "x": 0.02}
