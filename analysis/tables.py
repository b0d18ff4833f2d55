"""Tables of a frontier, task by task too, and of all trials."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.axes import AXES, Axis
from analysis.frontier import Frontier
from analysis.load import Trial
from analysis.points import Point
from analysis.text_table import TextTable
from trainables.records import TaskScore
from trainables.specs import Frozen, Split

TRIALS_HEADER = (
    "trial", "configuration", "status", "origin", "removed", "MiB", "recovery TFLOPs",
    "retention (search)", "retention (report)", "frontier", "signs",
)  # fmt: skip
TRIALS_FIRST = ("trial", "status", "frontier", "retention (search)", "retention (report)", "MiB")
NAMED = 5  # of points in a caption; the JSON file and the pictures hold all


class TrialRow(Frozen):
    """A trial as a table of all shows it.

    Attributes:
        status: of the record, or `running`, `interrupted`, `damaged` where there is none.
        stage: what a running trial is at, and since how many seconds.
        frontier: `yes`, `within noise`, `guessing` or empty.
        signs: names of the signs of failure.
    """

    trial_id: str
    label: str
    status: str
    origin: str
    stage: str | None = None
    stage_seconds: float | None = None
    ratio: float | None = None
    weights_mib: float | None = None
    recovery_tflops: float | None = None
    retention_search: float | None = None
    retention_search_se: float | None = None
    retention_report: float | None = None
    retention_report_se: float | None = None
    frontier: str = ""
    signs: tuple[str, ...] = ()


class TaskRow(Frozen):
    """A trial's scores by task; `tasks` holds counts, errors, and the dense base's scores."""

    trial_id: str
    label: str
    split: Split
    average: float
    average_se: float
    retention: float
    retention_corrected: float
    retention_low: float
    retention_high: float
    tasks: dict[str, TaskScore]


def csv_text(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Rows as CSV under their names; empty cells for None."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def frontier_table(frontier: Frontier) -> TextTable:
    """The frontier by rising cost, with its own axis before the scores where that is not listed."""
    own = [axis for axis in AXES.values() if axis.name == frontier.x and not axis.listed]
    axes = [*(axis for axis in AXES.values() if axis.listed), *own]
    header = [
        "trial", "configuration", "removed", *(axis.column for axis in axes),
        "average", "retention", "above chance", "standing",
    ]  # fmt: skip
    title = f"Frontier of {frontier.sweep or 'an empty sweep'}: retention against {frontier.x}"
    rows = [_frontier_row(point, axes) for point in frontier.points]
    return TextTable(
        header, rows, caption(frontier), title,
        first=("trial", AXES[frontier.x].column, "retention", "removed", "standing",
               AXES["recovery_tflops"].column),
        also=f"the csv file, or `prunesweep frontier {frontier.sweep} --json`",
    )  # fmt: skip


def trial_rows(trials: Sequence[Trial], frontier: Frontier) -> list[TrialRow]:
    """A row for each trial; those on `frontier` are marked."""
    marks = {p.trial_id: "within noise" for p in frontier.within_noise}
    marks |= dict.fromkeys(frontier.trial_ids, "yes")
    marks |= {p.trial_id: "guessing" for p in frontier.guessing}
    return [_trial_row(trial, marks.get(trial.trial_id, "")) for trial in trials]


def _trial_row(trial: Trial, mark: str) -> TrialRow:
    search, report = trial.retention("search"), trial.retention("report")
    return TrialRow(
        trial_id=trial.trial_id,
        label=trial.label,
        status=trial.record.status,
        origin=trial.record.origin,
        ratio=trial.axes["ratio"],
        weights_mib=trial.axes["weights_mib"],
        recovery_tflops=trial.axes["recovery_tflops"],
        retention_search=search[0],
        retention_search_se=search[1],
        retention_report=report[0],
        retention_report_se=report[1],
        frontier=mark,
        signs=tuple(sign.name for sign in trial.record.signatures),
    )


def trials_table(rows: Sequence[TrialRow], sweep: str = "") -> TextTable:
    """Every trial."""
    cells = [
        [
            row.trial_id,
            row.label,
            row.status if row.stage is None else f"{row.stage} {_clock(row.stage_seconds)}",
            row.origin,
            percent(row.ratio),
            number(row.weights_mib),
            number(row.recovery_tflops),
            with_error(row.retention_search, row.retention_search_se),
            with_error(row.retention_report, row.retention_report_se),
            row.frontier,
            ", ".join(row.signs),
        ]
        for row in rows
    ]
    title = f"Trials of {sweep}" if rows else "No trial has begun yet"
    return TextTable(TRIALS_HEADER, cells, title=title, first=TRIALS_FIRST)


def task_rows(trials: Sequence[Trial], frontier: Frontier) -> list[TaskRow]:
    """The points of the frontier, by rising cost."""
    by_id = {trial.trial_id: trial for trial in trials}
    rows = []
    for point in frontier.points:
        evaluation = by_id[point.trial_id].evaluation(frontier.split)
        assert evaluation is not None, "a point has scores"
        own = point.model_dump(include=set(TaskRow.model_fields))
        rows.append(TaskRow(**own, tasks=evaluation.tasks))
    return rows


def tasks_table(rows: Sequence[TaskRow], title: str = "") -> TextTable:
    """The rows as a table, a column per task."""
    names = list(dict.fromkeys(name for row in rows for name in row.tasks))
    cells = [
        [
            row.trial_id,
            row.label,
            *(_task_cell(row.tasks.get(name)) for name in names),
            with_error(row.average, row.average_se, 1.0),
            with_interval(row),
        ]
        for row in rows
    ]
    header = ["trial", "configuration", *names, "average", "retention"]
    return TextTable(header, cells, _tasks_note(rows), title, first=("trial", *names))


def caption(frontier: Frontier) -> str:
    """A few sentences: which scores these are, what errors and standing mean, the hypervolume."""
    split = {
        "report": "Scores of the report split",
        "search": "Scores of the search split, by which trials are chosen (they flatter)",
    }[frontier.split]
    parts = [f"{split}; +/- one standard error, clustered by image."]
    if frontier.points:
        parts.append(
            "Retention: corrected for the choice among all these models, with 95 % intervals that "
            "hold for all of them together. "
            "Standing `certain`: better than all that cost no more; `certainly dominated`: worse "
            "than one that costs no more; in 95 % of sweeps all such words are right together. "
            "Errors and intervals are over the choice of questions, not over training seeds."
        )
    if frontier.within_noise:
        names = [p.trial_id for p in frontier.within_noise]
        parts.append(f"Within noise of the frontier: {_few(names)}.")
    if frontier.guessing:
        guesses = [f"{p.trial_id} ({p.average:.1f})" for p in frontier.guessing]
        parts.append(f"No better than guessing, so no point of the frontier: {_few(guesses)}.")
    if untrained := [p.trial_id for p in frontier.points if p.kept_untrained]:
        parts.append(
            "Kept as they were pruned, so that they need no recovery (0 TFLOPs), whatever was "
            f"tried: {_few(untrained)}."
        )
    if signs := [f"{p.trial_id} ({p.signs})" for p in frontier.points if p.signs]:
        parts.append(f"Signs of failure: {_few(signs)}.")
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
        parts.append(f"Awaiting the report split: {_few(frontier.awaiting_report)}.")
    return " ".join(parts)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


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


def with_interval(point: Point | TaskRow) -> str:
    """`98.1 [97.0, 99.3]`: the corrected retention in %; the interval is left out if it is none."""
    text = f"{100 * point.retention_corrected:.1f}"
    low, high = point.retention_low, point.retention_high
    return text if low == high else f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def _clock(seconds: float | None) -> str:
    minutes, rest = divmod(round(seconds or 0.0), 60)
    return f"{minutes}:{rest:02d}"


def _frontier_row(point: Point, axes: Sequence[Axis]) -> list[str]:
    return [
        point.trial_id,
        point.label
        + (" (reference)" if point.origin == "reference" else "")
        + (f" (! {point.signs})" if point.signs else ""),
        percent(point.ratio),
        *(number(point.value(axis.name)) for axis in axes),
        with_error(point.average, point.average_se, 1.0),
        with_interval(point),
        percent(point.above_chance),
        point.standing or "",
    ]


def _task_cell(task: TaskScore | None) -> str:
    if task is None:
        return "-"
    text = with_error(task.score, task.stderr, 1.0)
    return text if task.raw is None else f"{text} ({task.raw:.0f})"


def _tasks_note(rows: Sequence[TaskRow]) -> str:
    if not rows:
        return "No completed trial yet."
    raw = any(task.raw is not None for row in rows for task in row.tasks.values())
    beside = "; in brackets the points of MME's own scale (of 800 and of 2,000)" if raw else ""
    return (
        f"Scores of 0 to 100 on the {rows[0].split} split, +/- one standard error clustered by "
        f"image{beside}. Retention: corrected for the choice among the sweep's models, with its "
        "interval. The average counts MME's two parts as two tasks, as the study does."
    )
