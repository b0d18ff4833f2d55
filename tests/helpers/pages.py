"""A report's page as a browser reads it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from analysis.load import load_sweep_trials
from analysis.report.content import SweepReport, sweep_report
from analysis.report.page import report_page
from analysis.report.told import Told

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a page holds; an element that is closed wrongly, or not at all, raises.

    Attributes:
        links: values of `src` and `href`.
        ids: of elements.
        references: ids that others name: anchors, tables and plots of buttons.
        drawn: names of the figures that plots and buttons show.
        texts: by element the texts of those that hold one.
        policy: what a browser lets it ask for.
        figures: by name, with the hover texts of each point.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self._open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.drawn: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.size = len(html.encode())
        self._data = ""
        self.policy = ""
        assert html.startswith("<!DOCTYPE html>")
        self.feed(html)
        self.close()
        assert self._open == [], "an element is not closed"
        content = json.loads(self._data)
        self.figures: dict[str, Any] = content["figures"]
        for figure in self.figures.values():
            for trace in figure["data"]:
                if "told" in trace:
                    trace["text"] = [content["texts"][place] for place in trace.pop("told")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what the element names."""
        found = dict(attrs)
        assert len(found) == len(attrs), f"{tag} has an attribute twice"
        if tag not in VOID:
            self._open.append(tag)
        self.links += [str(found[name]) for name in ("src", "href") if name in found]
        self.ids += [str(found["id"])] if "id" in found else []
        self.references += [str(found[n]) for n in ("data-table", "data-plot") if n in found]
        self.policy = str(found["content"]) if "http-equiv" in found else self.policy
        self.references += [link[1:] for link in self.links[-1:] if link.startswith("#")]
        self.drawn += [str(found["data-figure"])] if "data-figure" in found else []
        self._reading = found.get("id") == "figures"

    def handle_endtag(self, tag: str) -> None:
        """Close it."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep texts, and the figures' JSON."""
        if self._open and self._reading and self._open[-1] == "script":
            self._data += data
        elif self._open and self._open[-1] not in ("script", "style") and data.strip():
            self.texts.setdefault(self._open[-1], []).append(data.strip())

    @property
    def text(self) -> str:
        """All texts."""
        return " ".join(text for texts in self.texts.values() for text in texts)


def report_without_engine(folder: Path, **told: Any) -> SweepReport:
    """The report of a sweep of which the engine tells this much."""
    return sweep_report(folder, load_sweep_trials(folder), Told(**told))


def page_of(*folders: Path, **told: Any) -> Page:
    """The page of these sweeps' reports."""
    return Page(report_page([(report_without_engine(f, **told), f) for f in folders]))


def figures_of(*folders: Path) -> dict[str, Any]:
    """The figures of the page by name."""
    return page_of(*folders).figures
