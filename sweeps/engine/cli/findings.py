"""The study's claims, tested on sweeps."""

import shlex
from typing import Annotated

import typer

from analysis.load import load_sweep_trials
from analysis.text_table import say, say_command
from sweeps.engine.cli.app import (
    RUNS,
    AsJson,
    Storage,
    app,
    err,
    out,
    print_json,
    storage_option,
    sweep_folder,
)
from trainables.common.files import reading_many

PLACE = 2.5  # after what else asks finished trials


@app.command()
@reading_many()
def findings(
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(metavar="SWEEP", help="Sweeps of one model, by name or file."),
    ] = None,
    published: Annotated[
        str | None,
        typer.Option(help="The study's printed numbers of a model too, e.g. bunny-v1.0-3b."),
    ] = None,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """Which of the study's claims hold, with intervals, and the trials that would decide the rest.

    Writes those trials as a sweep that goes on with the first SWEEP.
    """
    from analysis.findings.report import find_findings, printed_findings
    from analysis.findings.texts import findings_listing, missing_trials, note
    from sweeps.engine.plan.undecided import write_undecided

    if not sweeps and not published:
        raise ValueError("name a sweep, or a model whose printed numbers count by --published")
    reports = []
    if sweeps:
        folders = [sweep_folder(storage, name) for name in dict.fromkeys(sweeps)]
        loaded = [load_sweep_trials(folder) for folder in folders]
        for each in loaded:
            if each.note:
                say(err, each.note)
        reports.append(find_findings(folders, [each.trials for each in loaded]))
    if published:
        reports.append(printed_findings(published))
    if json:
        print_json(reports[0] if len(reports) == 1 else reports)
    for place, report in enumerate(reports if not json else ()):
        if place:
            out.print()
        findings_listing(report).show(out)
        out.print()
        say(out, note(report))
    missing = missing_trials(reports[0].findings) if sweeps else []
    if missing:
        try:
            path, count = write_undecided(folders[0], missing)
        except ValueError as error:
            say(err, f"the missing trials make no sweep: {error}")
            return
        if not json:
            out.print()
            say(out, f"{count} missing trials would decide more:")
            say_command(out, f"prunesweep run {shlex.quote(str(path))}{storage_option(storage)}")
