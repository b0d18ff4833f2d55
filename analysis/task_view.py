"""The frontier task by task: every score with its error, and MME's points beside."""

from collections.abc import Sequence

from analysis.frontier import Frontier
from analysis.load import Trial
from analysis.tables import TextTable, percent, with_error
from trainables.records import TaskScore
from trainables.specs import Frozen, Split

NOTE = (
    "Scores of 0 to 100 on the {split} split, +/- one standard error clustered by image{raw}. The "
    "average counts MME's two parts as two tasks, as the study does."
)


class TaskRow(Frozen):
    """A trial's scores by task; `tasks` holds counts, errors, and the dense base's scores."""

    trial_id: str
    label: str
    split: Split
    average: float
    average_se: float
    retention: float
    tasks: dict[str, TaskScore]


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
            *(_cell(row.tasks.get(name)) for name in names),
            with_error(row.average, row.average_se, 1.0),
            percent(row.retention),
        ]
        for row in rows
    ]
    header = ["trial", "configuration", *names, "average", "retention"]
    return TextTable(header, cells, _note(rows), title)


def _cell(task: TaskScore | None) -> str:
    if task is None:
        return "-"
    text = with_error(task.score, task.stderr, 1.0)
    return text if task.raw is None else f"{text} ({task.raw:.0f})"


def _note(rows: Sequence[TaskRow]) -> str:
    if not rows:
        return "No completed trial yet."
    raw = any(task.raw is not None for row in rows for task in row.tasks.values())
    beside = "; in brackets the points of MME's own scale (of 800 and of 2,000)" if raw else ""
    return NOTE.format(split=rows[0].split, raw=beside)
