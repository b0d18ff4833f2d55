"""How things look in every picture: a row per pruning method and per scope of the recovery.

Colour is the method, shape is the scope. Colours are those of Okabe and Ito: distinct with every
common kind of colour blindness, and in grey.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from trainables.common.names import unknown

INK, GREY, GRID = "#2B2B2B", "#8A8A8A", "#ECECEC"
FONT = {"family": "Helvetica, Arial, sans-serif", "size": 14, "color": INK}

Figure = dict[str, Any]
"""A picture as plotly's plain data: `data` (traces) and `layout`."""
Row = TypeVar("Row")


class MethodLook(NamedTuple):
    """A method's name in legends and its colour."""

    label: str
    colour: str


class ScopeLook(NamedTuple):
    """A scope's name in legends and its plotly symbol."""

    label: str
    symbol: str


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


def look_of(table: Mapping[str, Row], what: str, name: str) -> Row:
    """The row of `name`.

    Raises:
        ValueError: the table has none, so it cannot be drawn; lists those that it has.
    """
    if name not in table:
        raise ValueError(unknown(f"{what} (to draw)", name, table))
    return table[name]


def tint(colour: str, strength: float) -> str:
    """`colour` mixed with white; opaque, so that bars and lines do not shine through."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - strength * (255 - part)):02X}" for part in parts)


def heading(text: str) -> dict[str, Any]:
    """A title, bold and on the left."""
    return {"text": f"<b>{text}</b>", "x": 0.02}
