"""The study's tables, printed and measured side by side."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.load import Trial, load_sweep
from analysis.text_table import Listing, say, say_command
from sweeps.engine.cli.app import (
    RUNS,
    AsJson,
    Storage,
    app,
    err,
    out,
    print_json,
    say_next,
    storage_option,
    sweep_folder,
    sweep_trials,
)
from trainables.common.files import reading_many

if TYPE_CHECKING:
    from analysis.findings.questions import Wanted
    from analysis.published.entries import Setting
    from analysis.published.sheet import Sheet, SheetCell

PLACE = 2.6  # after the findings


@app.command()
@reading_many()
def study(
    table: Annotated[
        str | None, typer.Argument(help="Such as table3; without it all are listed.")
    ] = None,
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(metavar="SWEEP", help="Sweeps of one model; none shows the printed table."),
    ] = None,
    published: Annotated[
        str | None,
        typer.Option(help="Whose printed numbers stand beside, e.g. llava-v1.5-7b."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """A table of the study from the trials of sweeps, beside what the study prints.

    Of trials that it lacks it writes a sweep file, beside the other files of the first SWEEP.
    """
    from analysis.published.sheet import fill, sheet_table
    from analysis.published.study_tables import FIGURES, study_table

    if table is None:
        _list(json)
        return
    if table.lower() in FIGURES:
        _name_commands(table.lower(), sweeps or ["SWEEP"], storage, json)
        return
    chosen = study_table(table)
    folders = [sweep_folder(storage, name) for name in dict.fromkeys(sweeps or ())]
    trials = _trials(folders)
    sheet = fill(chosen, trials, [folder.name for folder in folders], published)
    shown = sheet_table(sheet)
    if json:
        print_json(sheet)
    elif markdown:
        print(shown.markdown(), flush=True)
    else:
        shown.show(out)
    if sheet.missing:
        told = _what_is_missing(folders[0], sheet)
        say_next(told if not json and not markdown else (), storage)


def _list(json: bool) -> None:
    from analysis.published.study_tables import ALL_SWEEPS, FIGURES, NO_NUMBERS, TABLES

    if json:
        tables = [
            {
                "name": t.name,
                "shows": t.shows,
                "models": t.models,
                "sweeps": [*ALL_SWEEPS, *t.sweeps],
            }
            for t in TABLES.values()
        ]
        figures = [
            {"name": name, "shows": f.shows, "commands": f.commands} for name, f in FIGURES.items()
        ]
        print_json({"tables": tables, "figures": figures})
        return
    rows = [
        (t.name, t.shows + (f"; also filled by {', '.join(t.sweeps)}" if t.sweeps else ""))
        for t in TABLES.values()
    ]
    rows += [
        (name, f"{f.shows}: {', '.join(f'prunesweep {c}' for c in f.commands)}")
        for name, f in FIGURES.items()
    ]
    Listing(rows, title="The study's tables and figures").show(out)
    out.print()
    say(out, f"Sweeps that fill every table: {', '.join(ALL_SWEEPS)}. {NO_NUMBERS}")
    say_command(out, "prunesweep study table3 SWEEP")


def _name_commands(figure: str, sweeps: Sequence[str], storage: Path, json: bool) -> None:
    from analysis.published.study_tables import FIGURES

    drawn = FIGURES[figure]
    commands = [
        f"prunesweep {command.replace('SWEEP', shlex.quote(sweep))}{storage_option(storage)}"
        for sweep in sweeps
        for command in drawn.commands
    ]
    if json:
        print_json({"name": figure, "shows": drawn.shows, "commands": commands})
        return
    say(out, f"{figure}: {drawn.shows}. What draws it:")
    for command in commands:
        say_command(out, command)


def _trials(folders: Sequence[Path]) -> list[Trial]:
    """The trials of all sweeps.

    Raises:
        ValueError: the sweeps cannot be taken together.
    """
    from analysis.bases import check_together

    trials = [trial for folder in folders for trial in sweep_trials(folder).trials]
    check_together(folders, [load_sweep(folder) for folder in folders])
    return trials


def _what_is_missing(folder: Path, sheet: Sheet) -> list[tuple[str, str]]:
    """Sentences with their commands, whose files are written."""
    from analysis.published.entries import Setting
    from sweeps.engine.plan.undecided import missing_sweep, write_sweep

    plain = [s for s in sheet.missing if s.method != "dense" and s.quantization == "none"]
    wanted = [_wanted(folder, s, sheet.cells) for s in plain if s.hidden_layers == 1]
    told = []
    if wanted:
        try:
            sweep = missing_sweep(folder, wanted)
            why = f"are missing in {sheet.table}"
            path = write_sweep(folder, f"study-{sheet.table}.yaml", sweep, why)
            told.append(
                (
                    "Missing trials, as a sweep file that is ready to run:",
                    f"run {shlex.quote(str(path))}",
                )
            )
        except ValueError as error:
            say(err, f"what is missing makes no sweep: {error}")
    dense = Setting() in sheet.missing
    if dense:
        told.append(("The dense model has no scores yet:", f"run {folder.name}"))
    if others := len(sheet.missing) - len(wanted) - dense:
        told.append((f"{others} more take another sweep; `prunesweep study` lists some.", ""))
    return told


def _wanted(folder: Path, setting: Setting, cells: Sequence[SheetCell]) -> Wanted:
    """The missing trial, with the settings of the nearest one that the sweep has."""
    from analysis.findings.questions import Wanted

    def away(cell: SheetCell) -> tuple[bool, ...]:
        had = cell.setting
        return had.method != setting.method, had.scope != setting.scope, had.ratio != setting.ratio

    assert setting.method != "dense"
    ours = (c for c in cells if c.setting.method != "dense" and c.setting.quantization == "none")
    near = min(
        (c for c in ours if any(t.startswith(f"{folder.name}/") for t in c.trials)),
        key=away, default=None,
    )  # fmt: skip
    return Wanted(
        method=setting.method,
        size=f"{setting.ratio:.2f}",
        ratio=setting.ratio,
        scope=setting.scope,
        terms=setting.terms,
        data_fraction=setting.data_fraction,
        like=near.trials[0] if near else None,
        other_scope=near is not None and near.setting.scope != setting.scope,
    )
