"""Commands about data."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.text_table import say
from sweeps.engine.cli.app import AsJson, app, err, out, print_json
from trainables.evaluation.own.vqa_file import VqaFile, asks, vqa_faults, vqa_file

data = typer.Typer(help="Training conversations, benchmarks' data.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.command("check")
def check_data(
    file: Annotated[
        str,
        typer.Argument(
            help="Conversations: JSON, JSON lines, or InternVL's meta JSON; a file of questions, "
            "FILE or FILE:METRIC; a folder with copies of benchmarks."
        ),
    ],
    image_folder: Annotated[
        Path | None, typer.Option(help="What image paths start from; FILE's folder by default.")
    ] = None,
    linked_folder: Annotated[
        list[Path] | None,
        typer.Option(help="A folder elsewhere that links may lead to; may be given again."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model's name or folder: count tokens as it does.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=16, help="Longest sample, in tokens.")] = 2048,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; one per core by default.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Read every sample and decode every image; exit code 1 when something is broken."""
    if Path(file).is_dir():
        return _check_copies(Path(file), json)
    questions = vqa_file(file)
    if questions is not None and asks(questions):
        return _check_questions(questions, image_folder, json)
    from sweeps.engine.plan.estimates import cpu_count
    from sweeps.engine.show.data_report import print_report, progress_bars
    from trainables.recovery.encode.data_check import check_data as check
    from trainables.specs import DataSpec

    folder = None if image_folder is None else str(image_folder)
    spec = DataSpec(
        conversations=file,
        image_folder=folder,
        linked_folders=tuple(map(str, linked_folder or ())),
        max_tokens=max_tokens,
    )
    with progress_bars(err) as show:
        report = check(spec, model, workers or cpu_count(), show)
    print_json(report) if json else print_report(report, out)
    if report.broken:
        raise typer.Exit(1)


def _check_questions(file: VqaFile, image_folder: Path | None, json: bool) -> None:
    from sweeps.engine.show.data_report import print_faults

    folder = None if image_folder is None else str(image_folder)
    rows, metric, faults = vqa_faults(file, folder)
    found = [{"task": file.name, "rows": rows, "metric": metric, "broken": faults}]
    print_json(found) if json else print_faults(found, out)
    if faults:
        raise typer.Exit(1)


def _check_copies(folder: Path, json: bool) -> None:
    from sweeps.engine.show.data_report import copy_faults, print_faults, progress_bars
    from trainables.evaluation.benchmarks.copies import copies_in

    if not copies_in(folder):
        raise ValueError(
            f"{folder} is a folder without copies of benchmarks (TASK/copy.json); name one "
            "that `prunesweep data fetch` wrote, or a file of conversations"
        )
    with progress_bars(err) as show:
        found = copy_faults(folder, show)
    print_json(found) if json else print_faults(found, out)
    if any(entry["broken"] for entry in found):
        raise typer.Exit(1)


@data.command("fetch")
def fetch_data(
    tasks: Annotated[
        list[str] | None, typer.Argument(help="Names of public tasks; without any, what there is.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder of copies: trial.evaluation.data_folder.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="A snapshot of the hub's dataset instead of the hub.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A commit of the hub's dataset.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Replace a copy that is there.")] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="What there is, and fetch nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Copy benchmarks' data from the hub, so that evaluation needs neither hub nor token."""
    from sweeps.engine.show.data_report import benchmark_table, check_public, print_benchmarks

    if listed or not tasks:
        rows = benchmark_table(to, check_public(tasks or []))
        print_json(rows) if json else print_benchmarks(rows, out)
        return
    from trainables.evaluation.benchmarks.fetch import fetch

    chosen = check_public(tasks)
    if to is None:
        raise ValueError("name the folder of copies with --to DIR")
    if source is not None and (len(chosen) > 1 or not source.is_dir()):
        raise ValueError(
            f"--source {source} is the folder of one dataset, for one task; give an existing "
            "folder and one task"
        )
    fetched = []
    for benchmark in chosen:
        copy, new = fetch(benchmark, to, source=source, revision=revision, again=again)
        fetched.append(copy.card.model_dump(mode="json") | {"fetched_now": new})
        if not json:
            state = "fetched" if new else "already there"
            say(
                out,
                f"{benchmark.name}: {state}, {copy.card.rows:,} questions in {copy.folder}\n"
                f"  licence by the hub's card: {copy.card.licence or 'none stated'}; known "
                f"here: {benchmark.licence}",
            )
    if json:
        print_json(fetched)
    else:
        say(out, f"use them with --set trial.evaluation.data_folder={to}")
