"""A table of the study, filled: measured values beside the printed ones, as text and as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from analysis.load import Trial
from analysis.published.entries import (
    AVERAGE,
    COSTS,
    HEADINGS,
    LATENCY,
    MEMORY,
    PATHS,
    RETENTION,
    Setting,
    Value,
    Values,
)
from analysis.published.layout import SCORES, Column, Row, StudyTable
from analysis.published.measured import FEW, Measured, measured
from analysis.tables import number
from analysis.text_table import TextTable
from trainables.specs import Frozen, Split

HERE, PAPER = "here", "paper"
SURE = "AVG-%"  # the column that shows its error
NAMED = 4  # of the missing trials; JSON holds all
OTHER_SIZE = 0.1  # relative difference of the dense models' memory from which they are two models


class SheetCell(Frozen):
    """One cell: what was measured and what is printed; None where there is none.

    `digits` of them follow the point in the study; `trials` (`sweep/trial`) were averaged, over
    seeds.
    """

    row: str
    column: str
    setting: Setting
    measured: Value | None = None
    printed: Value | None = None
    digits: int
    trials: tuple[str, ...] = ()


class Sheet(Frozen):
    """A filled table.

    Attributes:
        table: its name; `shows` what it shows.
        sweeps: whose trials were read; none shows the printed numbers alone.
        model: of the sweeps.
        published: the model whose printed numbers stand beside; None where the table has none.
        split: of the measured scores.
        cells: by row, then column.
        missing: settings of cells without a measured value; none without sweeps.
        notes: what a reader has to know of the numbers.
    """

    table: str
    shows: str
    sweeps: tuple[str, ...]
    model: str | None
    published: str | None
    split: Split | None
    cells: tuple[SheetCell, ...]
    missing: tuple[Setting, ...] = ()
    notes: tuple[str, ...] = ()


def fill(
    table: StudyTable,
    trials: Sequence[Trial] = (),
    sweeps: Sequence[str] = (),
    published: str | None = None,
) -> Sheet:
    """The table with the trials of sweeps and the printed numbers of a model.

    Args:
        table: which.
        trials: of all sweeps together; none leaves the printed numbers.
        sweeps: their names.
        published: whose printed numbers; None takes those of the sweeps' model, or of the table's
            first.

    Raises:
        ValueError: the table has no printed numbers of that model, or none at all and no trials.
    """
    model = trials[0].record.spec.model.path if trials else None
    if published is None and table.models:
        own = PATHS.get(model or "")
        published = own if own in table.models else table.models[0]
    printed = table.printed(published or "") if published or not sweeps else {}
    found = measured(trials, table.settings, table.tasks) if sweeps else None
    columns = _columns(table, found, printed)
    cells = tuple(_cell(row, column, found, printed) for row in table.rows for column in columns)
    missing = _missing(table, found) if found else ()
    return Sheet(
        table=table.name,
        shows=table.shows,
        sweeps=tuple(sweeps),
        model=model,
        published=published,
        split=found.split if found and found.trials else None,
        cells=cells,
        missing=missing,
        notes=tuple(_notes(table, found, missing, printed)),
    )


def sheet_table(sheet: Sheet) -> TextTable:
    """The sheet as text: a line of measured and a line of printed values for each row."""
    cells = {(cell.row, cell.column): cell for cell in sheet.cells}
    rows, columns = dict.fromkeys(r for r, _ in cells), list(dict.fromkeys(c for _, c in cells))
    sources = [HERE] * bool(sheet.sweeps) + [PAPER] * bool(sheet.published)
    lines = []
    for row in rows:
        for source in sources:
            label = row if source == sources[0] else ""
            shown = (_shown(cells[row, column], source) for column in columns)
            lines.append([label, *([source] if len(sources) > 1 else []), *shown])
    heads = ["configuration", *(["from"] if len(sources) > 1 else [])]
    what = f"{sheet.table}: {sheet.shows}"
    model = f"{sheet.model}, " if sheet.model else ""
    who = [f"here: {model}{' + '.join(sheet.sweeps)}"] if sheet.sweeps else []
    who += [f"paper: {sheet.published}, as printed"] if sheet.published else []
    return TextTable(
        [*heads, *columns], lines, " ".join((f"{'; '.join(who)}.", *sheet.notes)), what,
        folded=len(heads),
    )  # fmt: skip


def _missing(table: StudyTable, found: Measured) -> tuple[Setting, ...]:
    """Settings whose trials are missing; a latency may be for want of a closing pass alone."""
    asked = ((column.value, column.of(row)) for row in table.rows for column in table.columns)
    gone = (s for v, s in asked if v != LATENCY and _value(found.values.get(s), v) is None)
    return tuple(dict.fromkeys(gone))


def _columns(
    table: StudyTable, found: Measured | None, printed: Mapping[Setting, Values]
) -> list[Column]:
    """The table's columns, one for each task: those of the sweeps, else the printed ones."""
    ours = [*(found.values.values() if found else ())]
    theirs, own = (
        dict.fromkeys(task for values in some for task in values.scores)
        for some in ([*printed.values()], ours)
    )
    names = [*(t for t in theirs if t in own or not own), *(t for t in own if t not in theirs)]
    columns: list[Column] = []
    for column in table.columns:
        scores = [Column(HEADINGS.get(task, task), task) for task in names]
        columns += scores if column.value == SCORES else [column]
    return columns


def _value(values: Values | None, name: str) -> Value | None:
    """The value of that name; of `SCORES` any."""
    if values is None:
        return None
    return next(iter(values.scores.values()), None) if name == SCORES else values.get(name)


def _cell(
    row: Row, column: Column, found: Measured | None, printed: Mapping[Setting, Values]
) -> SheetCell:
    setting = column.of(row)
    ours = found.values.get(setting) if found else None
    return SheetCell(
        row=row.label,
        column=column.heading,
        setting=setting,
        measured=_scaled(_value(ours, column.value), column.scale),
        printed=_scaled(_value(printed.get(setting), column.value), column.scale),
        digits=column.digits,
        trials=found.trials.get(setting, ()) if found else (),
    )


def _scaled(value: Value | None, scale: float) -> Value | None:
    if value is None or scale == 1:
        return value
    error = None if value.error is None else scale * value.error
    return value.model_copy(update={"estimate": scale * value.estimate, "error": error})


def _shown(cell: SheetCell, source: str) -> str:
    value = cell.printed if source == PAPER else cell.measured
    if value is None:
        return "-"
    text = f"{value.estimate:.{cell.digits}f}" + ("*" if value.marked else "")
    if source == PAPER:
        return text if value.error is None else f"{text} +/- {value.error:g}"
    if 0 < abs(value.estimate) < (1 if cell.digits else 100):  # small models
        text = number(value.estimate)
    return f"{text} +/- {value.error:.2f}" if value.error and cell.column == SURE else text


def _notes(
    table: StudyTable,
    found: Measured | None,
    missing: Sequence[Setting],
    printed: Mapping[Setting, Values],
) -> Iterator[str]:
    if any(v.marked for values in printed.values() for v in values.results.values()):
        yield "* contradicts the other numbers of the paper."
    if found is None:
        return
    if found.trials and any(column.value not in COSTS for column in table.columns):
        yield f"Scores of the {found.split} split; +/- one standard error over questions."
    results = [values.results for values in found.values.values()]
    if any(AVERAGE in own and RETENTION not in own for own in results):
        yield f"Without scores of the dense model there is no {SURE}."
    if found.fractions and found.fractions != (FEW,):
        shares = ", ".join(f"{100 * f:g}" for f in found.fractions)
        yield f"Recovered on {shares} % of the data (the study: 5 %)."
    if found.untrained:
        names = ", ".join(s.label for s in table.settings if s in found.untrained)
        yield f"Kept as pruned, because training made it worse: {names}."
    ours, theirs = (_value(v.get(Setting()), MEMORY) for v in (found.values, printed))
    if ours and theirs and abs(ours.estimate / theirs.estimate - 1) > OTHER_SIZE:
        yield "They are models of different size: compare shapes, not numbers."
    if missing:
        labels = [setting.label for setting in missing]
        more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
        yield f"Missing: {', '.join(labels[:NAMED])}{more}."
