"""`prunesweep data check`: how far it is, and what it found."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from trainables.recovery.encode import data_check as check
from trainables.recovery.encode.data_check import DataReport

SHOWN = 5  # ids of each kind of fault


@contextmanager
def progress_bars(console: Console) -> Iterator[check.Progress]:
    """A function that shows how far the check is, one bar per kind of work."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True) as bars:

        def show(what: str, done: int, of: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done, total=of)

        yield show


def print_report(report: DataReport, console: Console) -> None:
    """The counts, and the first samples of each kind of fault."""
    answer = report.answer_characters / max(1, report.turns)
    rows = {
        "samples": f"{report.samples:,}, of which {report.text_only:,} are text only",
        "images": f"{report.images:,} files, shown {report.shown_images:,} times",
        "turns": f"{report.turns:,}, {answer:,.0f} characters per answer",
    }
    if report.tokens:
        percentiles = (f"{name} {n:,}" for name, n in report.tokens.items() if name != "total")
        rows["tokens"] = f"{report.tokens['total']:,}; per sample {', '.join(percentiles)}"
    table = Table(show_header=False, box=None)
    for name, text in rows.items():
        table.add_row(name, text)
    console.print(table)
    for fault, found in report.broken.items():
        console.print(f"\n{fault}: {len(found):,}", style="bold red")
        for _, message in found[:SHOWN]:
            console.print(f"  {message}", markup=False, soft_wrap=True)
        if len(found) > SHOWN:
            console.print(f"  and {len(found) - SHOWN:,} more; --json lists all")
    if not report.broken:
        console.print("nothing is broken", style="green")
