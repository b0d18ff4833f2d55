"""The pictures of effects: the ternary plot of loss mixtures, and forest plots.

The ternary plot's corners are cross-entropy (alpha), distillation of the logits (beta) and of the
hidden states (gamma); a point lies where its normalised weights put it, its colour is retention.
Shape tells which logits term it is, a ring marks a mixture that was repeated with other seeds, a
star the best of these. A forest plot has one row per effect, its estimate and its 95 % interval,
and zero as a line.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from analysis.contrasts import Effect
from analysis.draw.looks import FONT, GREY, GRID, INK, METHODS, Figure, heading
from analysis.draw.png import draw_png
from analysis.effects.effect_texts import Report, weights
from analysis.effects.factor_effects import FactorReport
from analysis.effects.mixtures import MixturePoint, MixtureReport
from analysis.effects.setting_effects import SensitivityReport
from analysis.tables import percent
from trainables.common.names import unknown

TERMS_TITLE = "Effect of each term and coefficient (search split)"
BEHIND_TITLE = "Against the best mixture (report split)"
NOTHING = "too few trials yet"
COLOUR = METHODS["layerwise"].colour
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


def effect_figures(report: Report) -> dict[str, Figure]:
    """The pictures by name: three of loss mixtures, one per recipe, or one of all factors."""
    if isinstance(report, MixtureReport):
        return {
            "ternary": ternary_figure(report),
            "terms": forest_figure(report.effects, TERMS_TITLE),
            "behind": forest_figure(behind_rows(report), BEHIND_TITLE),
        }
    if isinstance(report, FactorReport):
        rows = [
            e.effect.model_copy(update={"name": f"{e.effect.name} against {e.against}"})
            for e in report.effects
        ]
        return {"factors": forest_figure(rows, f"Factors of {report.sweep} (search split)")}
    labels = [f"{v.factor} {v.level}" for v in report.verdicts]
    return {
        f"recipe-{place}": forest_figure(rows, recipe, labels)
        for place, (recipe, rows) in enumerate(setting_rows(report).items())
    } or {"nothing": forest_figure((), NOTHING)}


def effects_png(report: Report, figures: dict[str, Figure]) -> bytes:
    """The pictures as one PNG; every recipe has its own scale: noise differs by a factor of ten."""
    if isinstance(report, MixtureReport):
        mosaic = (("ternary", "terms"), ("ternary", "behind"))
        return draw_png(figures, (12.6, 5.4), mosaic, (1.25, 1))
    if isinstance(report, FactorReport):
        return draw_png(figures, (7.2, 1.6 + 0.3 * len(report.effects)))
    return draw_png(figures, (3.4 + 3.4 * len(figures), 1.6 + 0.3 * len(report.verdicts)))


def behind_rows(report: MixtureReport) -> list[Effect]:
    """How far each repeated mixture lies from the best, with the simultaneous margin."""
    return [
        Effect(
            name=f"{weights(m.point)} ({m.point.trial_id.partition('-')[0]})",
            estimate=-100 * m.behind,
            low=-100 * (m.behind + m.margin),
            high=-100 * (m.behind - m.margin),
            runs=m.seeds,
        )
        for m in report.confirmed
    ]


def setting_rows(report: SensitivityReport) -> dict[str, list[Effect]]:
    """Every setting's effect, by recipe."""
    rows: dict[str, list[Effect]] = {}
    for e in report.effects:
        rows.setdefault(e.recipe, []).append(e.effect)
    return rows


def forest_figure(rows: Sequence[Effect], title: str, labels: Sequence[str] = ()) -> Figure:
    """The rows, the first on top.

    `labels` are those to leave room for, so that plots side by side share them.
    """
    places = list(labels or [row.name for row in rows])
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [r.estimate for r in rows],
        "y": [places.index(r.name) for r in rows],
        "text": [f"{r.name}<br>{r.estimate:+.2f} ({r.low:+.2f} to {r.high:+.2f})" for r in rows],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": 9, "color": COLOUR, "symbol": "circle"},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [r.high - r.estimate for r in rows],
            "arrayminus": [r.estimate - r.low for r in rows],
        },
    }
    layout = {
        "title": heading(title),
        "xaxis": {
            "title": {"text": "Points of retention (95 % intervals)"},
            "gridcolor": GRID,
            "zerolinecolor": GREY,
            "linecolor": INK,
        },
        "yaxis": {
            "tickvals": list(range(len(places))),
            "ticktext": places,
            "range": [len(places) - 0.4, -0.6],
            "gridcolor": "white",
            "zeroline": False,
            "automargin": True,
        },
        "plot_bgcolor": "white",
        "font": FONT,
        "meta": {"empty": NOTHING},
    }
    return {"data": [trace] if rows else [], "layout": layout}


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
        best = {"name": "best of the repeated", "marker": BEST, "hoverinfo": "skip"}
        traces.append(_places([report.best.point]) | best)
    if strange := {p.logits for p in report.points}.difference(LOGITS):
        raise ValueError(unknown("logits loss (to draw)", min(strange), LOGITS))
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
        "meta": {"key": key, "empty": NOTHING},
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
                f"report split: {percent(mixture.corrected)} "
                f"({percent(mixture.low)} to {percent(mixture.high)}), {mixture.seeds} seeds"
            )
    return "<br>".join(lines)
