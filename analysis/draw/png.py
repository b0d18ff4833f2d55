"""Plotly figures as one PNG, drawn by matplotlib: what their traces and layouts say, and no more.

Understood are traces of type `scatter`, `scatterpolar` and `scatterternary` with lines, markers,
error bars and a colour scale, and texts below their points; titles, ranges and ticks of axes; lines
across the plot (`shapes`).
Two things that only paper needs stand in `layout.meta`: `key`, the entries of the legend (traces
without points) in place of the traces' names, and `note`, small print beside the title.
"""

import io
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from html import unescape
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from analysis.draw.looks import GREY, GRID, INK, Figure, tint

Trace = dict[str, Any]

POINTS = 0.64  # of the page per pixel of the screen
HEIGHT = math.sqrt(3) / 2
SYMBOLS = {
    "x": "X", "circle": "o", "square": "s", "diamond": "D", "triangle-up": "^",
    "triangle-down": "v", "cross": "P", "star": "*", "circle-open-dot": "$\\odot$",
}  # fmt: skip
DASHES: dict[str, Any] = {
    "solid": "-", "dot": ":", "dash": "--", "dashdot": "-.", "longdashdot": (0, (8, 2, 1, 2)),
}  # fmt: skip


def draw_png(
    figures: Mapping[str, Figure],
    size: tuple[float, float],
    mosaic: Sequence[Sequence[str]] = (),
    widths: Sequence[float] | None = None,
) -> bytes:
    """Figures by name as one PNG of `size` inches, 200 dots each; side by side without `mosaic`."""
    inks = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    style: Any = {"font.size": 9.5, "legend.frameon": False} | dict.fromkeys(inks, INK)
    with rc_context(style):
        buffer = io.BytesIO()
        canvas = compose(figures, size, mosaic, widths)
        canvas.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def compose(
    figures: Mapping[str, Figure],
    size: tuple[float, float],
    mosaic: Sequence[Sequence[str]] = (),
    widths: Sequence[float] | None = None,
) -> Canvas:
    """The figures in matplotlib."""
    canvas = Canvas(figsize=size, dpi=200, layout="constrained")
    FigureCanvasAgg(canvas)
    polar: dict[Any, Any] = {
        name: {"projection": "polar"} for name, f in figures.items() if "polar" in f["layout"]
    }
    rows: list[Any] = [list(row) for row in mosaic or [list(figures)]]
    panes = canvas.subplot_mosaic(rows, width_ratios=widths, per_subplot_kw=polar)
    for name, figure in figures.items():
        _draw(panes[name], figure)
    for row in rows:  # panes beside each other name their common rows once
        for left, right in itertools.pairwise(row):
            ticks = [figures[n]["layout"].get("yaxis", {}).get("ticktext") for n in (left, right)]
            if ticks[0] and ticks[0] == ticks[1]:
                panes[right].tick_params(labelleft=False)
    return canvas


def place(alpha: float, beta: float, gamma: float) -> tuple[float, float]:
    """Position in a triangle of side 1: alpha on top, beta on the left, gamma on the right."""
    total = alpha + beta + gamma
    return (gamma + alpha / 2) / total, HEIGHT * alpha / total


def _draw(axes: Axes, figure: Figure) -> None:
    layout, traces = figure["layout"], figure["data"]
    meta = layout.get("meta", {})
    canvas = axes.get_figure(root=True)
    assert canvas is not None, "axes lie in a figure"
    title, note = _text(layout["title"]["text"]), meta.get("note", "")
    if "polar" in layout:  # a round plot is narrower than its title
        canvas.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        canvas.text(0.995, 0.985, note, ha="right", va="top", fontsize=8, color=GREY,
                    linespacing=1.5)  # fmt: skip
    else:
        axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold")
        axes.set_title(note, loc="right", fontsize=8, color=GREY)
    if not traces:
        axes.axis("off")
        axes.text(0.5, 0.5, meta.get("empty", ""), transform=axes.transAxes, ha="center")
        return
    frame = _polar if "polar" in layout else _ternary if "ternary" in layout else _cartesian
    frame(axes, layout)
    for trace in traces:
        _trace(axes, trace, layout.get("coloraxis", {}))
    if scaled := [c for c in axes.collections if c.get_array() is not None]:
        bar = canvas.colorbar(scaled[0], ax=axes, shrink=0.6, extend="min", pad=0.02)
        bar.set_label(_text(layout["coloraxis"]["colorbar"]["title"]["text"]))
    for shape in layout.get("shapes", ()):  # horizontal, from edge to edge
        label, level, style = shape["label"], shape["y0"], shape["line"]
        axes.axhline(level, **_stroke(style, 1.0))
        axes.annotate(label["text"], (1, level), (-3, 3), xycoords=("axes fraction", "data"),
                      fontsize=8, textcoords="offset points", ha="right",
                      color=style["color"])  # fmt: skip
    entries = meta.get("key", [t for t in traces if t.get("showlegend", True) and t.get("name")])
    handles = [_entry(trace) for trace in entries]
    if handles and "x" in layout.get("legend", {}):
        axes.legend(handles=handles, loc="upper left", fontsize=8.5)
    elif handles:
        canvas.legend(handles=handles, loc="outside lower center", ncols=meta.get("columns", 2),
                      fontsize=8.5, handletextpad=0.4, columnspacing=1.6)  # fmt: skip


def _cartesian(axes: Axes, layout: Mapping[str, Any]) -> None:
    axes.set_axisbelow(True)
    axes.margins(x=0.05, y=0.08)
    axes.spines[["top", "right"]].set_visible(False)
    for side, name, axis in (("bottom", "x", axes.xaxis), ("left", "y", axes.yaxis)):
        spec = layout.get(f"{name}axis", {})
        axis.set_label_text(_text(spec.get("title", {}).get("text", "")))
        if spec.get("gridcolor") != "white":
            axis.grid(color=GRID, linewidth=0.8)
        if "ticktext" in spec:
            axis.set_ticks(spec["tickvals"], [_text(t) for t in spec["ticktext"]])
        if "linecolor" not in spec:
            axes.spines[side].set_visible(False)
            axes.tick_params(axis=name, length=0)  # type: ignore[arg-type]
    if "range" in layout.get("xaxis", {}):
        axes.set_xlim(*layout["xaxis"]["range"])
    if "range" in layout.get("yaxis", {}):
        axes.set_ylim(*layout["yaxis"]["range"])
    if "zerolinecolor" in layout.get("xaxis", {}):
        axes.axvline(0, color=layout["xaxis"]["zerolinecolor"], lw=1.2, zorder=1)


def _polar(axes: Any, layout: Mapping[str, Any]) -> None:
    radial, around = layout["polar"]["radialaxis"], layout["polar"]["angularaxis"]
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_ylim(*radial["range"])
    axes.grid(color=GRID, linewidth=0.9)
    axes.spines["polar"].set_color(GRID)
    angle = 90 - radial["angle"]
    axes.set_rgrids(radial["tickvals"], angle=angle, color=GREY, size=8)
    axes.set_xticks([math.radians(a) for a in around["tickvals"]], around["ticktext"])
    axes.tick_params(axis="x", pad=9)
    for text, degrees in zip(axes.get_xticklabels(), around["tickvals"], strict=True):
        side = math.sin(math.radians(degrees))
        text.set_horizontalalignment(
            "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
        )


def _ternary(axes: Axes, layout: Mapping[str, Any]) -> None:
    corners = [place(1, 0, 0), place(0, 1, 0), place(0, 0, 1)]
    for step in (0.25, 0.5, 0.75):
        for start, end in (
            ((step, 1 - step, 0), (step, 0, 1 - step)),
            ((1 - step, step, 0), (0, step, 1 - step)),
            ((1 - step, 0, step), (0, 1 - step, step)),
        ):
            axes.plot(*zip(place(*start), place(*end), strict=True), color=GRID, lw=1, zorder=1)
    axes.plot(*zip(*corners, corners[0], strict=True), color=INK, lw=1.2, zorder=2)
    for name, corner, up in zip("abc", corners, (10, -18, -18), strict=True):
        label = layout["ternary"][f"{name}axis"]["title"]["text"]
        axes.annotate(label, corner, (0, up), textcoords="offset points", ha="center")
    axes.set_aspect("equal")
    axes.set_xlim(-0.12, 1.12)
    axes.set_ylim(-0.12, HEIGHT + 0.1)
    axes.axis("off")


def _trace(axes: Any, trace: Trace, scale: Mapping[str, Any]) -> None:
    x, y = _places(trace)
    strength, layer = trace.get("opacity", 1.0), trace.get("zorder", 3)
    marker, line = trace.get("marker", {}), trace.get("line", {})
    for side in ("x", "y"):
        if bars := trace.get(f"error_{side}"):
            axes.errorbar(
                x, y, **{f"{side}err": (bars["arrayminus"], bars["array"])}, fmt="none", capsize=2,
                ecolor=tint(bars.get("color", marker["color"]), strength),
                elinewidth=0.85 * bars.get("thickness", 1.5), zorder=layer,
            )  # fmt: skip
    if "lines" in trace["mode"]:
        axes.plot(x, y, **_stroke(line, strength), zorder=layer,
                  drawstyle="steps-post" if line.get("shape") == "hv" else "default")  # fmt: skip
    if "text" in trace["mode"]:
        for *point, text in zip(x, y, trace["text"], strict=True):
            axes.annotate(_text(text), point, ha="center", va="top", linespacing=1.35,
                          fontsize=POINTS * trace["textfont"]["size"])  # fmt: skip
    if "markers" not in trace["mode"]:
        return
    edge = marker.get("line", {})
    if "coloraxis" in marker:
        look = {"c": marker["color"], "edgecolors": edge["color"], "vmin": scale["cmin"],
                "vmax": scale["cmax"], "cmap": scale["colorscale"].lower()}  # fmt: skip
    else:
        face, rim = _colours(marker, strength)
        look = {"c": face, "edgecolors": rim}
    widths = edge.get("width", 1.0)
    axes.scatter(x, y, s=(POINTS * marker["size"]) ** 2, zorder=layer + 0.5, **look,
                 marker=SYMBOLS[marker["symbol"].removesuffix("-open")],
                 linewidths=[0.8 * w for w in widths] if isinstance(widths, list)
                 else 0.8 * widths)  # fmt: skip


def _places(trace: Trace) -> tuple[list[float], list[float]]:
    """Where the points lie; a gap is NaN."""
    if trace["type"] == "scatterternary":
        places = [place(*abc) for abc in zip(trace["a"], trace["b"], trace["c"], strict=True)]
        return [p[0] for p in places], [p[1] for p in places]
    polar = trace["type"] == "scatterpolar"
    first, second = (trace["theta"], trace["r"]) if polar else (trace["x"], trace["y"])
    x, y = ([math.nan if v is None else v for v in values] for values in (first, second))
    return ([math.radians(v) for v in x] if polar else x), y


def _entry(trace: Trace) -> Line2D:
    """The legend's entry of a trace."""
    strength = trace.get("opacity", 1.0)
    look: dict[str, Any] = {"linestyle": "none"}
    if "lines" in trace["mode"]:
        look = _stroke(trace["line"], strength)
    if "markers" in trace["mode"]:
        marker = trace["marker"]
        face, edge = _colours(marker, strength)
        look |= {"marker": SYMBOLS[marker["symbol"].removesuffix("-open")],
                 "markersize": POINTS * marker["size"],
                 "markerfacecolor": face, "markeredgecolor": edge,
                 "markeredgewidth": 0.8 * marker.get("line", {}).get("width", 1.0)}  # fmt: skip
    return Line2D([], [], label=_text(trace["name"]), **look)


def _colours(marker: Mapping[str, Any], strength: float) -> tuple[str, str]:
    """Of a marker's face and edge; a hollow one is white inside."""
    symbol, colour = marker["symbol"], marker["color"]
    colour = colour if colour == "white" else tint(colour, strength)
    if symbol.endswith("-open"):
        return "white", colour
    return colour, colour if "dot" in symbol else marker.get("line", {}).get("color", "white")


def _stroke(line: Mapping[str, Any], strength: float) -> dict[str, Any]:
    dash = DASHES[line.get("dash", "solid")]
    return {"color": tint(line["color"], strength), "linestyle": dash,
            "linewidth": 0.8 * line["width"]}  # fmt: skip


def _text(text: str) -> str:
    """Plotly's text without its tags."""
    return unescape(re.sub(r"<[^>]*>", "", text.replace("<br>", "\n")))
