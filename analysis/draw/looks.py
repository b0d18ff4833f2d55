"""How things look in every picture: a row per pruning method and per scope of the recovery.

Colour is the method, shape is the scope. Colours are those of Okabe and Ito: distinct with every
common kind of colour blindness, and in grey.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from trainables.common.names import unknown

INK, GREY, GRID = "#2B2B2B", "#8A8A8A", "#ECECEC"
FONT = {"family": "Helvetica, Arial, sans-serif", "size": 14, "color": INK}

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


def check_look(table: Mapping[str, Any], what: str, name: str) -> None:
    """Refuse what has no row in the table, so that it cannot be drawn.

    Raises:
        ValueError: lists the rows that there are.
    """
    if name not in table:
        raise ValueError(unknown(f"{what} (to draw)", name, table))


def tint(colour: str, strength: float) -> str:
    """`colour` mixed with white; opaque, so that bars and lines do not shine through."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - strength * (255 - part)):02X}" for part in parts)


def heading(text: str) -> dict[str, Any]:
    """A title, bold and on the left."""
    return {"text": f"<b>{text}</b>", "x": 0.02}
