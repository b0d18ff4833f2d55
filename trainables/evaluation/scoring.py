"""Per-sample scores and what follows from them: averages, retention, clustered standard errors.

Notation: sample i of task t has score s_i on 0..100 and weight w_i; the task's score is the
weighted mean a_t, the model's average A the mean of a_t over the T tasks.

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

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.evaluation.bootstrap import TaskColumns, interval, resampled_scores
from trainables.evaluation.catalog import task_of
from trainables.records import OWN_SCALE, Comparison, EvaluationReport, TaskScore
from trainables.specs import Split

Floats = NDArray[np.float64]

# A score in 0..100 cannot have a larger standard deviation: the error of a single cluster, whose
# spread is unknown. (Captions' scores can, but of one caption nothing is known anyway.)
LARGEST_DEVIATION = 50.0


@dataclass(frozen=True)
class TaskSamples:
    """Samples of one reported task, in document order.

    Attributes:
        doc_ids: position of each sample in the task's data (of an image, where images are scored).
        image_ids: the cluster of each sample.
        scores: on 0..100; captions' may be higher (`TaskInfo.top`).
        weights: of the task's mean; equal ones for an ordinary mean.
        answers: what the model said.
        unfinished: whether the length limit cut an answer off; empty where it is not known.
    """

    doc_ids: tuple[int, ...]
    image_ids: tuple[str, ...]
    scores: Floats
    weights: Floats
    answers: tuple[str, ...]
    unfinished: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        """Check that there are samples and that each has a finite score."""
        columns = [name for name in self.__dataclass_fields__ if name != "unfinished"]
        lengths = {len(getattr(self, name)) for name in columns}
        lengths |= {len(self.unfinished)} - {0}
        assert len(lengths) == 1, f"columns of different lengths: {lengths}"
        if not lengths - {0}:
            raise ValueError("a task without samples has no score; raise the limit")
        if not np.all(np.isfinite(self.scores)):
            raise ValueError("a sample's score is not a finite number, so the task has no score")

    @property
    def score(self) -> float:
        """The weighted mean of the scores."""
        return float(np.average(self.scores, weights=self.weights))

    @property
    def influences(self) -> Floats:
        """u_i: how much each sample moves the task's score."""
        shares: Floats = self.weights / self.weights.sum()
        return shares * (self.scores - self.score)

    def take(self, doc_ids: Iterable[int]) -> TaskSamples:
        """The samples with these `doc_ids`, in that order; KeyError where one is missing."""
        where = {doc: i for i, doc in enumerate(self.doc_ids)}
        at = [where[doc] for doc in doc_ids]
        return TaskSamples(
            tuple(self.doc_ids[i] for i in at),
            tuple(self.image_ids[i] for i in at),
            self.scores[at],
            self.weights[at],
            tuple(self.answers[i] for i in at),
            tuple(self.unfinished[i] for i in at) if self.unfinished else (),
        )


@dataclass(frozen=True)
class ScoreTable:
    """Per-sample scores of one model by task, and the seconds that the answers took.

    `failed` names the tasks that could not be scored, and why; it is not saved.
    """

    tasks: Mapping[str, TaskSamples]
    seconds: float | None = field(default=None, compare=False)
    failed: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def average(self) -> float:
        """Mean of the task scores."""
        return float(np.mean([samples.score for samples in self.tasks.values()]))

    @property
    def samples(self) -> int:
        """Number of samples of all tasks."""
        return sum(len(samples.doc_ids) for samples in self.tasks.values())

    @property
    def samples_per_second(self) -> float | None:
        """How fast they were answered; None where that is not known."""
        return self.samples / self.seconds if self.seconds else None

    def matching(self, other: ScoreTable) -> ScoreTable:
        """The part of this table that covers exactly the samples of `other`.

        The weights are those of `other`: MME's say how many of its samples are in a category.

        Raises:
            ValueError: this table lacks some of them, or they show other images.
        """
        taken: dict[str, TaskSamples] = {}
        for task, theirs in other.tasks.items():
            try:
                ours = self.tasks[task].take(theirs.doc_ids)
            except KeyError as error:
                raise ValueError(
                    f"the dense model was not scored on all samples of task {task!r} "
                    f"(missing: {error}); score it with the same tasks and at least the same limit"
                ) from error
            if ours.image_ids != theirs.image_ids:
                raise ValueError(
                    f"the samples of task {task!r} show other images than the dense model's; score "
                    "both on the same data and split"
                )
            taken[task] = replace(ours, weights=theirs.weights)
        return ScoreTable(taken, self.seconds)

    def save(self, path: Path) -> None:
        """Write the table as one parquet file, in one step."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, list[Any]] = {
            "task": [name for name, s in self.tasks.items() for _ in s.doc_ids],
            "doc_id": [doc for s in self.tasks.values() for doc in s.doc_ids],
            "image_id": [image for s in self.tasks.values() for image in s.image_ids],
            "score": [float(x) for s in self.tasks.values() for x in s.scores],
            "weight": [float(x) for s in self.tasks.values() for x in s.weights],
            "answer": [answer for s in self.tasks.values() for answer in s.answers],
            "unfinished": [
                cut_off
                for s in self.tasks.values()
                for cut_off in s.unfinished or (None,) * len(s.doc_ids)
            ],
        }
        note = {b"prunesweep": json.dumps({"seconds": self.seconds}).encode()}
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            pq.write_table(pa.table(columns).replace_schema_metadata(note), part)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> ScoreTable:
        """Read a table that `save` wrote."""
        import pyarrow.parquet as pq

        table = pq.ParquetFile(path).read()
        note = json.loads((table.schema.metadata or {})[b"prunesweep"])
        rows = table.to_pydict()
        names = np.array(rows["task"])
        cut_off = rows.get("unfinished", [None] * len(names))
        tasks: dict[str, TaskSamples] = {}
        for name in dict.fromkeys(rows["task"]):
            at = np.flatnonzero(names == name)
            tasks[name] = TaskSamples(
                tuple(rows["doc_id"][i] for i in at),
                tuple(rows["image_id"][i] for i in at),
                np.array([rows["score"][i] for i in at]),
                np.array([rows["weight"][i] for i in at]),
                tuple(rows["answer"][i] for i in at),
                tuple(cut_off[i] for i in at if cut_off[i] is not None),
            )
        return cls(tasks, note["seconds"])


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
