"""The frontier's files in the sweep's folder: csv, json, markdown, interactive html, png."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.frontier import Frontier, find_frontier
from analysis.load import DEFAULT_X, Trial, load_trials
from analysis.points import Point
from trainables.records import write_json

# Raise it when figures.py or page.py changes: pictures of an unchanged frontier are not redrawn.
PICTURES = 2


@dataclass(frozen=True)
class FrontierFiles:
    """The frontier and where its files lie."""

    frontier: Frontier
    csv: Path
    json: Path
    markdown: Path
    html: Path
    png: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return self.csv, self.json, self.markdown, self.html, self.png


def write_frontier(
    folder: Path, x: str = DEFAULT_X, trials: Sequence[Trial] | None = None, pictures: bool = True
) -> FrontierFiles:
    """Find the frontier of the sweep in `folder` and write its files there.

    `frontier.*` is the frontier of the default axis, the one that MLflow's tags follow; that of
    another axis is `frontier-<x>.*`. Each file is written beside its place and renamed into it, the
    JSON last. When the JSON would not change, the pictures (1.5 s) are left as they are.

    Args:
        folder: the sweep's folder in the ledger.
        x: one of `X_AXES`.
        trials: the sweep's trials, if they have been loaded already.
        pictures: whether to draw the html and the png.

    Raises:
        ValueError: unknown axis, latencies of several devices, or a folder that cannot be written.
    """
    from analysis.tables import frontier_markdown

    folder = Path(folder)
    frontier = find_frontier(load_trials(folder) if trials is None else trials, x)
    stem = "frontier" if x == DEFAULT_X else f"frontier-{x}"
    files = FrontierFiles(
        frontier,
        *(folder / f"{stem}.{end}" for end in ("csv", "json", "md", "html", "png")),
    )
    content = {"pictures": PICTURES, **frontier.model_dump(mode="json")}
    try:
        if _is_current(files, content):
            return files
        if pictures:
            from analysis.figures import draw_png
            from analysis.page import draw_html

            replace_file(files.html, draw_html(frontier).encode())
            replace_file(files.png, draw_png(frontier))
        else:
            content["pictures"] = None
        replace_file(files.csv, frontier_csv(frontier).encode())
        replace_file(files.markdown, frontier_markdown(frontier).encode())
        write_json(files.json, content)
    except OSError as error:
        raise ValueError(
            f"the frontier files cannot be written to '{folder}' ({error.strerror or error}). "
            "Free some space or make the folder writable; no record is affected."
        ) from error
    return files


def frontier_csv(frontier: Frontier) -> str:
    """The frontier as CSV, one row per point; empty cells where nothing was measured."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(Point.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(point.model_dump() for point in frontier.points)
    return buffer.getvalue()


def _is_current(files: FrontierFiles, content: dict[str, object]) -> bool:
    if not all(path.exists() for path in files.paths):
        return False
    try:
        old: object = json.loads(files.json.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return bool(old == json.loads(json.dumps(content)))


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, then rename it into place."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
