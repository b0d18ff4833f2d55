"""What follows from per-sample scores: averages, retention, clustered standard errors.

Standard errors are those of `records.clusters`, intervals of comparisons with the dense model those
of `bootstrap.py`, over the same clusters.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from trainables.evaluation.bootstrap import TaskColumns, interval, resampled_scores
from trainables.evaluation.catalog import task_of
from trainables.records import OWN_SCALE, Comparison, EvaluationReport, TaskScore
from trainables.records.clusters import LARGEST_DEVIATION, Floats, clustered_error
from trainables.records.score_table import ScoreTable
from trainables.specs import Split


def _average_error(table: ScoreTable, influences: Floats) -> float:
    """The error of an average over tasks; a task that shows a single image may lie anywhere.

    Such a task's influences are zero whatever it would score on other images, so that the average
    would look the surer the less is known of it.
    """
    alone = sum(len(set(s.image_ids)) < 2 for s in table.tasks.values())
    unknown = np.sqrt(alone) * LARGEST_DEVIATION / len(table.tasks)
    found = np.hypot(clustered_error(table.images, influences), unknown)
    return float(min(found, LARGEST_DEVIATION))


def report(split: Split, table: ScoreTable, dense: ScoreTable | None = None) -> EvaluationReport:
    """Scores with standard errors and, against the dense model's table, what was lost.

    `dense` are the dense model's scores on at least the same samples; None for its own report.

    Raises:
        ValueError: the dense table does not cover the samples, or the dense model's average is 0.
    """
    against: dict[str, Any] = {}
    paired: dict[str, Comparison] = {}
    if dense is not None:
        dense = dense.matching(table)
        base = dense.average
        refuse_zero(base)
        ratio = table.average / base
        influences = table.influences - ratio * dense.influences
        paired, average, (low, high) = _compare(table, dense)
        against = {
            "dense_average": base,
            "retention": ratio,
            "retention_se": _average_error(table, influences) / base,
            "retention_low": low,
            "retention_high": high,
            "paired": average,
        }
    return EvaluationReport(
        split=split,
        tasks={
            name: TaskScore(
                score=s.score,
                stderr=clustered_error(s.image_ids, s.influences),
                samples=len(s.doc_ids),
                chance=table.chance.get(name, _chance(name)),
                images=len(set(s.image_ids)),
                raw=s.score * OWN_SCALE[name] if name in OWN_SCALE else None,
                paired=paired.get(name),
                unfinished=float(np.mean(s.unfinished)) if s.unfinished else None,
            )
            for name, s in table.tasks.items()
        },
        average=table.average,
        average_se=_average_error(table, table.influences),
        samples_per_second=table.samples_per_second,
        **against,
    )


def refuse_zero(base: float, shown: Callable[[], str] = str) -> None:
    """Refuse a dense average that nothing can be compared with.

    Args:
        base: the average.
        shown: gives a few of its answers in words.

    Raises:
        ValueError: it is 0.
    """
    if base <= 0:
        raise ValueError(
            "the dense model scores 0 on every task, so retention is undefined; check that the "
            f"tasks' prompts fit the model. {shown()}".rstrip()
        )


def _compare(
    table: ScoreTable, dense: ScoreTable
) -> tuple[dict[str, Comparison], Comparison, tuple[float, float]]:
    """Differences per task and of the averages, and the interval of the retention.

    Where a task shows a single image, anything is possible: the intervals are as wide as its scores
    can be.
    """
    columns = [
        TaskColumns(
            s.image_ids, s.weights, np.stack([dense.tasks[name].scores, s.scores]), _top(name)
        )
        for name, s in table.tasks.items()
    ]
    drawn = resampled_scores(columns)

    tops = [task.top for task in columns]

    def comparison(draws: Floats | None, ours: float, theirs: float, top: float) -> Comparison:
        ends = (-theirs, top - theirs) if draws is None else interval(draws[:, 1] - draws[:, 0])
        return Comparison(dense=theirs, difference=ours - theirs, low=ends[0], high=ends[1])

    tasks = {
        name: comparison(
            None if drawn is None else drawn[..., t], s.score, dense.tasks[name].score, tops[t]
        )
        for t, (name, s) in enumerate(table.tasks.items())
    }
    averages = None if drawn is None else drawn.mean(axis=-1)
    top = float(np.mean(tops))
    average = comparison(averages, table.average, dense.average, top)
    if averages is None:
        return tasks, average, (0.0, top / dense.average)
    # A draw in which the dense model is right about nothing tells nothing of the ratio.
    usable = averages[averages[:, 0] > 0]
    return tasks, average, interval(usable[:, 1] / usable[:, 0])


def _chance(reported: str) -> float | None:
    task = task_of(reported)
    return task.chance if task else None


def _top(reported: str) -> float:
    task = task_of(reported)
    return task.top if task else 100.0
