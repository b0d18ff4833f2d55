"""The command that writes the report of sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from analysis.text_table import say
from sweeps.engine.cli.app import (
    RUNS,
    AsJson,
    Published,
    Storage,
    app,
    err,
    print_json,
    sweep_folder,
)
from trainables.common.files import reading_many

PLACE = 1.9  # before the commands that show a part of it


@app.command()
@reading_many()
def report(
    sweeps: Annotated[
        list[str], typer.Argument(metavar="SWEEP", help="Sweeps, by name or file; several compare.")
    ],
    to: Annotated[
        Path | None, typer.Option("--to", help="The file; by default in the sweep's folder.")
    ] = None,
    published: Published = None,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """One page on a sweep: the answer, and why; of several sweeps one that compares them."""
    from analysis.report.comparison import check_comparable
    from analysis.report.write import REPORT_PAGE, write_report
    from sweeps.engine.report.telling import report_of

    folders = [sweep_folder(storage, name) for name in dict.fromkeys(sweeps)]
    found = [report_of(folder, published=published) for folder in folders]
    for each in found:
        if each.note:
            say(err, each.note)
    if len(found) > 1:
        check_comparable(found)
        usual = storage / f"report_{'_'.join(folder.name for folder in folders)}.html"
    else:
        usual = folders[0] / REPORT_PAGE
    path = to / usual.name if to is not None and to.is_dir() else to or usual
    write_report(path, list(zip(found, folders, strict=True)))
    if json:
        print_json(found[0] if len(found) == 1 else found)
    else:
        print(path)
