"""Tables of a frontier and of all trials: for a rich terminal, as plain text, as markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.frontier import Frontier
from analysis.load import Trial
from analysis.points import Point

if TYPE_CHECKING:
    from rich.table import Table

Rows = list[list[str]]

FRONTIER_HEADER = (
    "trial", "configuration", "removed", "MiB", "TFLOPs", "ms", "recovery TFLOPs",
    "average", "retention", "above chance", "standing",
)  # fmt: skip
UNLISTED = {"memory_mib": "memory MiB", "kept": "kept"}  # axes without a column of their own
TRIALS_HEADER = (
    "trial", "configuration", "status", "origin", "removed", "MiB", "recovery TFLOPs",
    "retention (search)", "retention (report)", "frontier", "signs",
)  # fmt: skip
TEXT_COLUMNS = {
    "trial", "configuration", "status", "origin", "frontier", "signs", "mixture", "effect",
    "told apart", "recipe", "factor", "level", "at", "verdict", "standing",
    "published row",
}  # fmt: skip

SCORES = FRONTIER_HEADER.index("average")
NAMED = 5  # of the points within noise; the JSON file and the pictures hold all


def frontier_header(frontier: Frontier) -> list[str]:
    """`FRONTIER_HEADER`, with the frontier's own axis before the scores where it lacks that."""
    own = [UNLISTED[frontier.x]] if frontier.x in UNLISTED else []
    return [*FRONTIER_HEADER[:SCORES], *own, *FRONTIER_HEADER[SCORES:]]


def frontier_rows(frontier: Frontier) -> Rows:
    """One row of text per point of the frontier, under `frontier_header`."""
    rows = []
    for point in frontier.points:
        row = _frontier_row(point)
        own = [number(point.value(frontier.x))] if frontier.x in UNLISTED else []
        rows.append([*row[:SCORES], *own, *row[SCORES:]])
    return rows


def frontier_table(frontier: Frontier) -> Table:
    """The frontier as a rich table, its split and hypervolume in the caption."""
    title = f"Frontier of {frontier.sweep or 'an empty sweep'}: retention against {frontier.x}"
    return rich_table(title, caption(frontier), frontier_header(frontier), frontier_rows(frontier))


def frontier_plain(frontier: Frontier) -> str:
    """The frontier as aligned plain text."""
    return plain(frontier_header(frontier), frontier_rows(frontier)) + "\n" + caption(frontier)


def frontier_markdown(frontier: Frontier) -> str:
    """The frontier as a markdown table with its caption."""
    table = markdown(frontier_header(frontier), frontier_rows(frontier))
    return f"{table}\n\n{caption(frontier)}\n"


def trial_rows(trials: Sequence[Trial], frontier: Frontier | None = None) -> Rows:
    """One row of text per trial, under `TRIALS_HEADER`."""
    front = frontier.trial_ids if frontier else frozenset()
    near = {p.trial_id for p in frontier.within_noise} if frontier else set()
    return [
        [
            trial.trial_id,
            trial.label,
            trial.record.status,
            trial.record.origin,
            percent(trial.axes["ratio"]),
            number(trial.axes["weights_mib"]),
            number(trial.axes["recovery_tflops"]),
            with_error(*trial.retention("search")),
            with_error(*trial.retention("report")),
            "yes" if trial.trial_id in front else "within noise" if trial.trial_id in near else "",
            ", ".join(s.name for s in trial.record.signatures),
        ]
        for trial in trials
    ]


def trials_table(trials: Sequence[Trial], frontier: Frontier | None = None) -> Table:
    """Every trial as a rich table; those on `frontier` are marked."""
    title = f"Trials of {trials[0].record.sweep}" if trials else "No trial has ended yet"
    return rich_table(title, None, TRIALS_HEADER, trial_rows(trials, frontier))


def trials_plain(trials: Sequence[Trial], frontier: Frontier | None = None) -> str:
    """Every trial as aligned plain text."""
    return plain(TRIALS_HEADER, trial_rows(trials, frontier))


def caption(frontier: Frontier) -> str:
    """A few sentences: which scores these are, what errors and standing mean, the hypervolume."""
    split = {
        "report": "Scores of the report split, which no choice has seen",
        "search": "Scores of the search split, by which trials are chosen (they flatter)",
    }[frontier.split]
    parts = [f"{split}; +/- one standard error, clustered by image."]
    if frontier.points:
        parts.append(
            "Standing `certain`: better than all that cost no more, by the 95 % interval of the "
            "paired difference."
        )
    if frontier.within_noise:
        names = [p.trial_id for p in frontier.within_noise]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        parts.append(f"Within noise of the frontier: {', '.join(names[:NAMED])}{more}.")
    if frontier.hypervolume is not None and frontier.reference is not None:
        share = frontier.hypervolume_share or 0.0
        parts.append(
            f"Hypervolume {number(frontier.hypervolume)} ({share:.3f} of its box) for the "
            f"reference point {frontier.x}={number(frontier.reference.x)}, "
            f"retention={frontier.reference.retention:g} ({frontier.reference.rule})."
        )
    if frontier.device:
        parts.append(f"Latency on {frontier.device}.")
    if frontier.awaiting_report:
        parts.append(f"Awaiting the report split: {', '.join(frontier.awaiting_report)}.")
    return " ".join(parts)


def number(value: float | None) -> str:
    """At least three significant digits, thousands apart; `-` for None."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def percent(value: float | None) -> str:
    """A ratio as a percentage; `-` for None."""
    return "-" if value is None else f"{100 * value:.1f}%"


def with_error(value: float | None, error: float | None, scale: float = 100.0) -> str:
    """`93.1 +/- 0.8`; the error is left out where there is none."""
    if value is None:
        return "-"
    text = f"{scale * value:.1f}"
    return f"{text} +/- {scale * error:.1f}" if error else text


def _frontier_row(point: Point) -> list[str]:
    return [
        point.trial_id,
        point.label
        + (" (reference)" if point.origin == "reference" else "")
        + (f" (! {point.signs})" if point.signs else ""),
        percent(point.ratio),
        number(point.weights_mib),
        number(point.tflops),
        number(point.latency_ms),
        number(point.recovery_tflops),
        with_error(point.average, point.average_se, 1.0),
        with_error(point.retention, point.retention_se),
        percent(point.above_chance),
        point.standing or "",
    ]


def rich_table(title: str, note: str | None, header: Sequence[str], rows: Rows) -> Table:
    """Rows under their header for a terminal, with a title and a note below."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(title), caption=escape(note) if note else None, box=box.SIMPLE_HEAD,
        title_style="bold", caption_style="dim", caption_justify="left",
    )  # fmt: skip
    for name in header:
        table.add_column(name, justify="left" if name in TEXT_COLUMNS else "right")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def plain(header: Sequence[str], rows: Rows) -> str:
    """Rows under their header as aligned plain text."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = [
        "  ".join(
            cell.ljust(width) if name in TEXT_COLUMNS else cell.rjust(width)
            for cell, width, name in zip(row, widths, header, strict=True)
        ).rstrip()
        for row in (list(header), *rows)
    ]
    return "\n".join(lines)


def markdown(header: Sequence[str], rows: Rows) -> str:
    """Rows under their header as a markdown table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = ["---" if name in TEXT_COLUMNS else "---:" for name in header]
    return "\n".join([line(list(header)), line(rule), *(line(row) for row in rows)])
