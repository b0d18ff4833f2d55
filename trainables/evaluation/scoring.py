"""What follows from per-sample scores: averages, retention, clustered standard errors.

Notation as in `score_table.py`.

Questions about one image are not independent, so standard errors are clustered by image. Every
figure here is a smooth function of weighted means; its error is the linearised (delta) one: sum the
influences of the samples of a cluster, U_g, over all tasks that show the image, and take
sqrt(G / (G - 1) * sum_g U_g^2) over the G clusters.
    task score:  u_i = w_i (s_i - a_t) / sum w
    average:     u_i / T
    retention R = A / D over the same samples of the dense model:  (u_i - R v_i) / (T D)
Intervals of comparisons with the dense model are those of `bootstrap.py`, over the same clusters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from trainables.evaluation.bootstrap import TaskColumns, interval, resampled_scores
from trainables.evaluation.catalog import task_of
from trainables.records import OWN_SCALE, Comparison, EvaluationReport, TaskScore
from trainables.records.score_table import Floats, ScoreTable
from trainables.specs import Split

# A score in 0..100 cannot have a larger standard deviation: the error of a single cluster, whose
# spread is unknown. (Captions' scores can, but of one caption nothing is known anyway.)
LARGEST_DEVIATION = 50.0


def clustered_error(images: Iterable[str], influences: Floats) -> float:
    """sqrt(G / (G - 1) * sum_g U_g^2) with U_g the sum of the influences of cluster g."""
    _, cluster = np.unique(np.array(list(images)), return_inverse=True)
    sums = np.bincount(cluster, weights=influences)
    if len(sums) < 2:
        return LARGEST_DEVIATION
    return float(np.sqrt(len(sums) / (len(sums) - 1) * np.sum(sums**2)))


def _average_error(table: ScoreTable, images: Iterable[str], influences: Floats) -> float:
    """The error of an average over tasks; a task that shows a single image may lie anywhere.

    Such a task's influences are zero whatever it would score on other images, so that the average
    would look the surer the less is known of it.
    """
    alone = sum(len(set(s.image_ids)) < 2 for s in table.tasks.values())
    unknown = np.sqrt(alone) * LARGEST_DEVIATION / len(table.tasks)
    found = np.hypot(clustered_error(images, influences), unknown)
    return float(min(found, LARGEST_DEVIATION))


def report(split: Split, table: ScoreTable, dense: ScoreTable | None = None) -> EvaluationReport:
    """Scores with standard errors and, against the dense model's table, what was lost.

    Args:
        split: which split the samples are from.
        table: the model's scores.
        dense: scores of the dense model on at least the same samples; None for its own report.

    Raises:
        ValueError: the dense table does not cover the samples, or the dense model's average is 0.
    """
    images = [image for s in table.tasks.values() for image in s.image_ids]
    influences = np.concatenate([s.influences for s in table.tasks.values()]) / len(table.tasks)
    against: dict[str, Any] = {}
    paired: dict[str, Comparison] = {}
    if dense is not None:
        dense = dense.matching(table)
        base = dense.average
        refuse_zero(base)
        theirs = np.concatenate([s.influences for s in dense.tasks.values()]) / len(table.tasks)
        ratio = table.average / base
        paired, average, (low, high) = _compare(table, dense)
        against = {
            "dense_average": base,
            "retention": ratio,
            "retention_se": _average_error(table, images, influences - ratio * theirs) / base,
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
                chance=_chance(name),
                images=len(set(s.image_ids)),
                raw=s.score * OWN_SCALE[name] if name in OWN_SCALE else None,
                paired=paired.get(name),
                unfinished=float(np.mean(s.unfinished)) if s.unfinished else None,
            )
            for name, s in table.tasks.items()
        },
        average=table.average,
        average_se=_average_error(table, images, influences),
        samples_per_second=table.samples_per_second,
        **against,
    )


def refuse_zero(base: float) -> None:
    """Refuse a dense average that nothing can be compared with.

    Raises:
        ValueError: it is 0.
    """
    if base <= 0:
        raise ValueError(
            "the dense model scores 0 on every task, so retention is undefined; check that the "
            "tasks' prompts fit the model"
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
