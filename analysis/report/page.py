"""The report as one self-contained HTML page: no other file, no request to any network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from analysis.answers.answers_page import STYLE
from analysis.axes import AXES
from analysis.draw.looks import Figure
from analysis.draw.sweeps_figure import sweeps_figure
from analysis.report.comparison import NOTE, common_axes, comparison_table
from analysis.report.content import SweepReport
from analysis.report.packed import packed
from analysis.report.shown import Option, Shown, shown
from analysis.text_table import TextTable, is_word

HERE = Path(__file__).parent
SECTIONS = (  # of one sweep: anchor, name in the navigation, and what must be there
    ("answer", "answer", "answer"), ("frontier", "frontier", "tables"), ("tasks", "tasks", "tasks"),
    ("effects", "what mattered", "effects"), ("findings", "claims", "claims"),
    ("recipes", "recipes", "recipes"),
    ("search", "search", "course"), ("trials", "trials", "parallel"), ("time", "time", "stages"),
    ("failures", "failures", "failures"), ("answers", "answers", "answers"),
    ("made", "how it was made", "made"),
)  # fmt: skip
FOOTER = (
    "Written by prunesweep from the sweep's records; `prunesweep report` writes it again. "
    "Everything that it shows is in this file."
)


def report_page(reports: Sequence[tuple[SweepReport, Path]]) -> str:
    """The page of one sweep, or of several that compare, each with its folder."""
    several = len(reports) > 1
    pages = [shown(r, folder, f"s{at}", several) for at, (r, folder) in enumerate(reports)]
    figures: dict[str, Figure] = {name: f for page in pages for name, f in page.figures.items()}
    comparison: dict[str, Any] = {}
    if several:
        comparison = _compared([r for r, _ in reports], figures)
    markup = {
        "css": (HERE / "report.css").read_text(encoding="utf-8") + (
            STYLE if any(page.answers for page in pages) else ""
        ),
        "script": (HERE / "report.js").read_text(encoding="utf-8"),
        "plotly": get_plotlyjs(),
        "figures": packed(figures),
    }  # fmt: skip
    for page in pages:
        page.answers = Markup(page.answers)  # escaped where it is made
    template = _environment().from_string((HERE / "report.jinja").read_text(encoding="utf-8"))
    return template.render(
        title=", ".join(r.sweep for r, _ in reports),
        shown=pages,
        comparison=comparison,
        links=_links(pages),
        footer=FOOTER,
        is_word=is_word,
        **{name: Markup(text) for name, text in markup.items()},
    )


def _environment() -> Environment:
    found = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    found.filters["code"] = _code
    return found


def _code(text: str) -> Markup:
    """The text escaped, what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _compared(reports: Sequence[SweepReport], figures: dict[str, Figure]) -> dict[str, Any]:
    options = []
    for x, frontiers in common_axes(reports).items():
        figures[f"compared-{x}"] = sweeps_figure(frontiers)
        options.append(Option(AXES[x].label, f"compared-{x}"))
    table: TextTable = comparison_table(reports)
    return {"axes": options, "table": table, "note": NOTE}


def _links(pages: Sequence[Shown]) -> list[tuple[str, str]]:
    if len(pages) > 1:
        return [("compared", "side by side"), *((f"{p.key}-answer", p.report.sweep) for p in pages)]
    (page,) = pages
    return [
        (f"{page.key}-{anchor}", name)
        for anchor, name, needed in SECTIONS
        if getattr(page, needed) or (anchor == "tasks" and page.spider)
    ]
