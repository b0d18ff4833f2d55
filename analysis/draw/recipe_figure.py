"""The decision flow as a picture: sizes across, data upwards, the recipe of each place.

Colour is the method, shape what is trained, as everywhere; a hollow mark says that other recipes
cannot be told apart from the one that is named, whose recovery is the cheapest.
"""

from __future__ import annotations

from html import escape
from typing import Any

from analysis.draw.looks import FONT, INK, METHODS, SCOPES, Figure, heading
from analysis.findings.recipe_report import RecipeReport, certainty, share
from analysis.findings.recipes import Place
from trainables.common.names import unknown

NOTHING = "no recipe yet"
MARK, TEXT = 22.0, 11


def recipe_figure(report: RecipeReport) -> Figure:
    """The grid; empty where no place has a recipe."""
    sizes = list(dict.fromkeys(place.size for place in report.places))
    shares = list(dict.fromkeys(share(place) for place in report.places))
    traces: list[dict[str, Any]] = []
    for place in report.places:
        if place.recipes:
            at = sizes.index(place.size), shares.index(share(place))
            traces += [_mark(place, *at), _words(place, *at)]
    shown = [place.recipes[0] for place in report.places if place.recipes]
    key = [
        _entry(look.label, "square", look.colour)
        for name, look in METHODS.items() if any(r.method == name for r in shown)
    ] + [
        _entry(look.label, look.symbol, INK)
        for name, look in SCOPES.items() if any(r.scope == name for r in shown)
    ] + [_entry("others cannot be told apart", "circle-open", INK)]  # fmt: skip
    layout = {
        "title": heading(f"Which recipe, by size and data ({report.sweep})"),
        "xaxis": {
            "title": {"text": "Size: what was to be removed, or what is left"},
            "tickvals": list(range(len(sizes))),
            "ticktext": sizes,
            "range": [-0.5, len(sizes) - 0.5],
            "gridcolor": "white",
            "zeroline": False,
        },
        "yaxis": {
            "title": {"text": "Data that may be used at most"},
            "tickvals": list(range(len(shares))),
            "ticktext": shares,
            "range": [-0.6, len(shares) - 0.4],
            "gridcolor": "white",
            "zeroline": False,
        },
        "plot_bgcolor": "white",
        "font": FONT,
        "legend": {"itemclick": False, "itemdoubleclick": False},
        "meta": {"empty": NOTHING, "columns": 4},
    }
    return {"data": [*traces, *(key if traces else [])], "layout": layout}


def figure_size(report: RecipeReport) -> tuple[float, float]:
    """Inches that hold every place."""
    sizes = {place.size for place in report.places}
    shares = {share(place) for place in report.places}
    return max(5.5, 1.2 + 1.75 * len(sizes)), 1.5 + 0.9 * len(shares)


def _entry(name: str, symbol: str, colour: str) -> dict[str, Any]:
    marker = {"symbol": symbol, "size": 11, "color": colour}
    nowhere = {"x": [None], "y": [None]}
    return {"type": "scatter", "mode": "markers", "name": name, "marker": marker, **nowhere}


def _mark(place: Place, x: int, y: int) -> dict[str, Any]:
    recipe = place.recipes[0]
    if recipe.method not in METHODS:
        raise ValueError(unknown("method (to draw)", recipe.method, METHODS))
    if recipe.scope not in SCOPES:
        raise ValueError(unknown("scope (to draw)", recipe.scope, SCOPES))
    colour = METHODS[recipe.method].colour
    symbol = SCOPES[recipe.scope].symbol + ("-open" if len(place.recipes) > 1 else "")
    return {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "x": [x],
        "y": [y + 0.3],
        "text": [_hover(place)],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "symbol": symbol,
            "size": MARK,
            "color": colour,
            "line": {"color": colour, "width": 1.5},
        },
    }


def _words(place: Place, x: int, y: int) -> dict[str, Any]:
    recipe = place.recipes[0]
    data = f", {100 * recipe.data_fraction:g}% data" if recipe.data_fraction else ""
    how = "no recovery" if recipe.scope == "none" else f"{recipe.scope} {recipe.terms}{data}"
    lines = (f"<b>{recipe.method}</b>", how, f"{recipe.retention:.0f} %, {certainty(place)}")
    return {
        "type": "scatter",
        "mode": "text",
        "showlegend": False,
        "x": [x],
        "y": [y + 0.16],
        "text": ["<br>".join(lines)],
        "textposition": "bottom center",
        "textfont": {"size": TEXT},
        "hoverinfo": "skip",
    }


def _hover(place: Place) -> str:
    lines = [f"<b>{escape(place.size)}, data: {share(place)}</b>"]
    for recipe in place.recipes:
        lines.append(f"{escape(recipe.label)}: {recipe.retention:.1f} %")
    for recipe in place.beaten:
        lines.append(f"beaten: {escape(recipe.label)}: {recipe.retention:.1f} %")
    return "<br>".join(lines)
