"""`prunesweep data`: which benchmarks there are, how far a check is, and what it found."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

from analysis.text_table import Listing, say
from trainables.common.names import unknown
from trainables.evaluation.benchmarks import BENCHMARKS, Benchmark, checks
from trainables.evaluation.benchmarks.copies import CARD, copies_in, read_copy
from trainables.evaluation.catalog import TASKS
from trainables.recovery.encode.data_check import DataReport

FACTS = ("about", "hub", "config", "split", "licence", "needs", "off_by_default")


def check_public(names: Sequence[str]) -> list[Benchmark]:
    """The benchmarks of these names; all of them without any.

    Raises:
        ValueError: a name is unknown, or of a task that has no data to fetch.
    """
    for name in names:
        if name in TASKS and TASKS[name].embedded:
            raise ValueError(f"the data of task {name!r} comes along; there is none to fetch")
        if name not in BENCHMARKS:
            raise ValueError(unknown("public task", name, BENCHMARKS))
    return [BENCHMARKS[name] for name in names or BENCHMARKS]


def benchmark_table(folder: Path | None, chosen: Sequence[Benchmark]) -> list[dict[str, Any]]:
    """One row per benchmark, with what a copy in `folder` says of itself."""
    return [
        {
            "task": known.name,
            **{fact: getattr(known, fact) for fact in FACTS},
            "copied": folder is not None and (folder / known.name / CARD).is_file(),
        }
        for known in chosen
    ]


def print_benchmarks(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """The table of benchmarks."""
    listed = []
    for row in rows:
        facts = [row["about"], row["hub"], row["licence"]]
        facts += [f"scoring needs {need}" for need in row["needs"]]
        facts += ["off by default"] * row["off_by_default"] + ["copied"] * row["copied"]
        listed.append((row["task"], "; ".join(facts)))
    Listing(listed, "benchmarks").show(console)
    console.print("`prunesweep data fetch TASK --to DIR` copies one")


def copy_faults(folder: Path, progress: checks.Progress) -> list[dict[str, Any]]:
    """Everything that is wrong with the copies in `folder`, each image decoded.

    A copy that cannot be read at all is one fault, and has no number of rows where its card cannot.
    """
    found: list[dict[str, Any]] = []
    for place in copies_in(folder):
        entry: dict[str, Any] = {"task": place.name, "rows": None}
        try:
            copy = read_copy(place)
            entry |= {"task": copy.benchmark.name, "rows": copy.card.rows}
            checks.check_schema(copy)
            faults = checks.altered_files(copy) + checks.missing_images(copy)
            faults += checks.image_faults(copy, progress=progress)
        except ValueError as error:  # the other copies are looked at all the same
            faults = [str(error)]
        found.append(entry | {"broken": faults})
    return found


def print_faults(found: Sequence[dict[str, Any]], console: Console) -> None:
    """The first faults of each copy."""
    for entry in found:
        count = len(entry["broken"])
        state = f"{count:,} fault{'s' * (count > 1)}" if count else "nothing is broken"
        questions = "" if entry["rows"] is None else f", {entry['rows']:,} questions"
        questions += f" by metric {entry['metric']!r}" if "metric" in entry else ""
        console.print(
            f"{entry['task']}{questions}: {state}", style="bold red" if count else "green"
        )
        _print_first(10, entry["broken"], console)


@contextmanager
def progress_bars(console: Console) -> Iterator[checks.Progress]:
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
    Listing(list(rows.items())).show(console)
    for fault, found in report.broken.items():
        console.print(f"\n{fault}: {len(found):,}", style="bold red")
        _print_first(5, [message for _, message in found], console)
    if not report.broken:
        console.print("nothing is broken", style="green")


def _print_first(most: int, faults: Sequence[str], console: Console) -> None:
    for fault in faults[:most]:
        say(console, f"  {fault}")
    if len(faults) > most:
        console.print(f"  and {len(faults) - most:,} more; --json lists all")
