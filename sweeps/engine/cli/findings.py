"""The study's claims, tested on sweeps."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.load import Trial
from analysis.text_table import say
from sweeps.engine.cli.app import (
    RUNS,
    AsJson,
    Storage,
    app,
    err,
    out,
    print_json,
    say_next,
    sweep_folder,
    sweep_trials,
)
from trainables.common.files import reading_many

if TYPE_CHECKING:
    from analysis.findings.report import FindingsReport

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

    Writes what would decide as sweep files beside those of the first SWEEP.
    """
    from analysis.findings.report import find_findings, printed_findings
    from analysis.findings.texts import findings_listing, note

    if not sweeps and not published:
        raise ValueError("name a sweep, or a model whose printed numbers count by --published")
    reports, trials = [], []
    if sweeps:
        folders = [sweep_folder(storage, name) for name in dict.fromkeys(sweeps)]
        trials = [sweep_trials(folder).trials for folder in folders]
        reports.append(find_findings(folders, trials))
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
    if sweeps:
        told = _what_would_decide(folders[0], reports[0], [t for some in trials for t in some])
        say_next(told if not json else (), storage)


def _what_would_decide(
    folder: Path, report: FindingsReport, trials: Sequence[Trial]
) -> Iterator[tuple[str, str]]:
    """Sentences with their commands, whose files are written."""
    from analysis.findings.texts import missing_trials, wide_answers
    from sweeps.engine.plan.undecided import (
        MISSING,
        WIDER,
        missing_sweep,
        wider_sweep,
        write_sweep,
    )

    wide = wide_answers(report.findings)
    compared = {name for answer in wide if answer.split == "search" for name in answer.trials}
    unscored = [
        name
        for t in trials
        if (name := f"{t.record.sweep}/{t.trial_id}") in compared
        and t.report is None
        and (t.loss is None or t.record.has_trained)
    ]
    if unscored:
        yield "Scores on the report split may decide more:", f"score {' '.join(unscored)}"
    try:
        if missing := missing_trials(report.findings):
            sweep = missing_sweep(folder, missing)
            path = write_sweep(folder, MISSING, sweep)
            yield (
                f"{len(sweep.designed)} missing trials would decide more:",
                f"run {shlex.quote(str(path))}",
            )
        if wider := wider_sweep(folder, wide):
            path = write_sweep(folder, WIDER, wider)
            asked = wider.trial.evaluation.report_limit
            yield (
                f"{len(wider.designed)} trials again, asked {asked:,} questions per task, would "
                f"decide more, as the sweep {wider.name}:",
                f"run {shlex.quote(str(path))}",
            )
    except ValueError as error:
        say(err, f"what would decide makes no sweep: {error}")
