"""The frontier's files in the sweep's folder: csv, json, markdown, pngs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.axes import DEFAULT_X
from analysis.frontier import Frontier, find_frontier
from analysis.load import Trial, load_trials
from analysis.points import Point
from analysis.tables import csv_text, frontier_table
from trainables.common.files import replace_file, write_json, writing

if TYPE_CHECKING:
    from analysis.draw.spider import Spider
    from analysis.published.overlay import Overlay

# Raise it when a picture changes (`analysis/draw`): those of an unchanged frontier are not drawn
# again.
PICTURES = 9


@dataclass(frozen=True)
class FrontierFiles:
    """The frontier and where its files lie.

    `spider` is the picture of retention by task; None where there are too few tasks for one.
    """

    frontier: Frontier
    csv: Path
    json: Path
    markdown: Path
    png: Path
    spider: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        pictures = (self.png,) if self.spider is None else (self.png, self.spider)
        return self.csv, self.json, self.markdown, *pictures


def write_frontier(
    folder: Path,
    x: str = DEFAULT_X,
    trials: Sequence[Trial] | None = None,
    published: str | None = None,
    frontier: Frontier | None = None,
    note: str = "",
) -> FrontierFiles:
    """Find the frontier of the sweep in `folder` and write its files there.

    `frontier.*` is the frontier of the default axis, the one that MLflow's tags follow; that of
    another axis is `frontier-<x>.*`, and one with published points in its pictures ends in
    `-published`. The default axis has `frontier-spider.png` as well. Each file is written beside
    its place and renamed into it, the JSON last. When the JSON would not change, the pictures
    (2 s) are left as they are.

    Args:
        folder: the sweep's folder in the ledger.
        x: one of `x_axes()`.
        trials: the sweep's trials, if they have been loaded already.
        published: model of the study whose published points are drawn too, e.g. `llava-v1.5-7b`.
        frontier: of these trials on this axis, if it has been found already.
        note: what to say of trials that are not among them.

    Raises:
        ValueError: unknown axis, a published model or axis that the study lacks, latencies of
            several devices, or a folder that cannot be written.
    """
    from analysis.draw.spider import frontier_spider
    from analysis.published.overlay import overlay_table

    trials = load_trials(folder) if trials is None else trials
    frontier = frontier or find_frontier(trials, x)
    overlay = find_overlay(trials, published, x) if published else None
    spider = frontier_spider(trials, frontier) if x == DEFAULT_X and overlay is None else None
    stem = "frontier" if x == DEFAULT_X else f"frontier-{x}"
    stem += "-published" if overlay else ""
    files = FrontierFiles(
        frontier,
        *(folder / f"{stem}{end}" for end in (".csv", ".json", ".md", ".png")),
        *([folder / f"{stem}-spider.png"] if spider else []),
    )
    content: dict[str, object] = {
        "pictures": PICTURES,
        **frontier.model_dump(mode="json"),
        **({"left_out": note} if note else {}),
    }
    text = frontier_table(frontier).markdown()
    text += f"\n{note}\n" if note else ""
    if overlay is not None:
        content["published"] = overlay.model_dump(mode="json")
        text += f"\n{overlay_table(overlay).markdown()}"
    with writing("the frontier files", folder):
        if _is_current(files, content):
            return files
        _draw(files, overlay, spider, note)
        replace_file(files.csv, frontier_csv(frontier).encode())
        replace_file(files.markdown, text.encode())
        write_json(files.json, content)
    return files


def find_overlay(trials: Sequence[Trial], model: str, x: str) -> Overlay:
    """The published points of `model` on `x`, with a warning where the dense base has another size.

    Raises:
        ValueError: the study has no such model, or no such axis.
    """
    from analysis.published.overlay import published_overlay

    sizes = (t.axes["weights_mib"] for t in trials if t.is_dense)
    return published_overlay(model, x, next((size for size in sizes if size), None))


def write_spider(folder: Path, spider: Spider) -> Path:
    """Write `spider.png` to the sweep's folder; returns its path."""
    from analysis.draw.png import draw_png
    from analysis.draw.spider_figure import SIZE, spider_figure

    png = folder / "spider.png"
    with writing("the spider plot", folder):
        replace_file(png, draw_png({"spider": spider_figure(spider)}, SIZE))
    return png


def frontier_csv(frontier: Frontier) -> str:
    """The frontier as CSV, one row per point; empty cells where nothing was measured."""
    rows = [point.row for point in frontier.points]
    return csv_text(rows, list(dict.fromkeys(itertools.chain(Point.columns(), *rows))))


def _draw(files: FrontierFiles, overlay: Overlay | None, spider: Spider | None, note: str) -> None:
    """Draw the PNGs; `note` is said in small print."""
    from analysis.draw import frontier_figure, spider_figure
    from analysis.draw.png import draw_png

    figure = frontier_figure.frontier_figure(files.frontier, overlay)
    if note:
        small = figure["layout"]["meta"]
        small["note"] = f"without trials of another base\n{small['note']}"
    if spider is not None and files.spider is not None:
        png = draw_png({"spider": spider_figure.spider_figure(spider)}, spider_figure.SIZE)
        replace_file(files.spider, png)
    png = draw_png({"frontier": figure}, frontier_figure.SIZE)
    replace_file(files.png, png)


def _is_current(files: FrontierFiles, content: dict[str, object]) -> bool:
    if not all(path.exists() for path in files.paths):
        return False
    try:
        old: object = json.loads(files.json.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return bool(old == json.loads(json.dumps(content)))
