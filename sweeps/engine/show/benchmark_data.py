"""`prunesweep data fetch` and `data check` of benchmarks: what there is, and what is wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from trainables.common.names import unknown
from trainables.evaluation.benchmarks import BENCHMARKS, Benchmark
from trainables.evaluation.benchmarks.checks import (
    Progress,
    altered_files,
    check_schema,
    image_faults,
    missing_images,
)
from trainables.evaluation.benchmarks.copies import CARD, copies_in, read_copy

SHOWN = 10  # faults of one copy


def check_public(names: Sequence[str]) -> list[Benchmark]:
    """The benchmarks of these names; all of them without any.

    Raises:
        ValueError: a name is unknown, or of a task that has no data to fetch.
    """
    for name in names:
        if name.startswith("tiny_"):
            raise ValueError(f"the data of task {name!r} is generated here; there is none to fetch")
        if name not in BENCHMARKS:
            raise ValueError(unknown("public task", name, BENCHMARKS))
    return [BENCHMARKS[name] for name in names or BENCHMARKS]


def benchmark_table(folder: Path | None, chosen: Sequence[Benchmark]) -> list[dict[str, Any]]:
    """One row per benchmark, with what a copy in `folder` says of itself."""
    rows: list[dict[str, Any]] = []
    for known in chosen:
        copied = folder is not None and (folder / known.name / CARD).is_file()
        rows.append(
            {
                "task": known.name,
                "about": known.about,
                "hub": known.hub,
                "config": known.config,
                "split": known.split,
                "licence": known.licence,
                "needs": list(known.needs),
                "off_by_default": known.off_by_default,
                "copied": copied,
            }
        )
    return rows


def print_benchmarks(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """The table of benchmarks."""
    table = Table(title="benchmarks", title_justify="left", show_header=False, box=None)
    for row in rows:
        facts = [row["about"], row["hub"], row["licence"]]
        facts += [f"scoring needs {need}" for need in row["needs"]]
        facts += ["off by default"] * row["off_by_default"] + ["copied"] * row["copied"]
        table.add_row(f"[bold]{row['task']}[/bold]", "; ".join(facts))
    console.print(table)
    console.print("`prunesweep data fetch TASK --to DIR` copies one")


def copy_faults(folder: Path, progress: Progress) -> list[dict[str, Any]]:
    """Everything that is wrong with the copies in `folder`, each image decoded.

    A copy that cannot be read at all is one fault, and has no number of rows where its card cannot.
    """
    found: list[dict[str, Any]] = []
    for place in copies_in(folder):
        entry: dict[str, Any] = {"task": place.name, "rows": None}
        try:
            copy = read_copy(place)
            entry |= {"task": copy.benchmark.name, "rows": copy.card.rows}
            check_schema(copy)
            faults = altered_files(copy) + missing_images(copy)
            faults += image_faults(copy, progress=progress)
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
        console.print(
            f"{entry['task']}{questions}: {state}", style="bold red" if count else "green"
        )
        for fault in entry["broken"][:SHOWN]:
            console.print(f"  {fault}", markup=False, soft_wrap=True)
        if count > SHOWN:
            console.print(f"  and {count - SHOWN:,} more; --json lists all")
