"""Per-sample scores of one model, and their file.

Notation: sample i of task t has score s_i on 0..100 and weight w_i; the task's score is the
weighted mean a_t, the model's average A the mean of a_t over the T tasks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trainables.records.clusters import Floats
from trainables.specs import digest


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

    `failed` names the tasks that could not be scored, and why; it is not saved. `chance` is what
    guessing scores, 0..100, where that follows from a task's own targets.
    """

    tasks: Mapping[str, TaskSamples]
    seconds: float | None = field(default=None, compare=False)
    failed: Mapping[str, str] = field(default_factory=dict, compare=False)
    chance: Mapping[str, float] = field(default_factory=dict, compare=False)

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

    @property
    def images(self) -> list[str]:
        """The image of each of the N samples of all tasks."""
        return [image for samples in self.tasks.values() for image in samples.image_ids]

    @cached_property
    def influences(self) -> Floats:
        """u_i / T: how much each of the N samples moves the average."""
        every = [samples.influences for samples in self.tasks.values()]
        return np.concatenate(every) / len(self.tasks)

    def ordered(self) -> ScoreTable:
        """The same by task and by document, whichever order they were asked in."""
        tasks = {name: self.tasks[name] for name in sorted(self.tasks)}
        return replace(self, tasks={name: s.take(sorted(s.doc_ids)) for name, s in tasks.items()})

    def same_questions(self, other: ScoreTable) -> bool:
        """Whether both models answered the same questions about the same images, in one order."""
        return self._asked == other._asked

    @cached_property
    def _asked(self) -> str:
        rows = ([t, s.doc_ids, s.image_ids, s.weights.tolist()] for t, s in self.tasks.items())
        return digest(list(rows))

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
        return ScoreTable(taken, self.seconds, chance=self.chance)

    def save(self, path: Path) -> None:
        """Write the table as one parquet file, in one step."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, list[Any]] = {
            "task": [name for name, s in self.tasks.items() for _ in s.doc_ids],
            "doc_id": [doc for s in self.tasks.values() for doc in s.doc_ids],
            "image_id": self.images,
            "score": [float(x) for s in self.tasks.values() for x in s.scores],
            "weight": [float(x) for s in self.tasks.values() for x in s.weights],
            "answer": [answer for s in self.tasks.values() for answer in s.answers],
            "unfinished": [
                cut_off
                for s in self.tasks.values()
                for cut_off in s.unfinished or (None,) * len(s.doc_ids)
            ],
        }
        note = {
            b"prunesweep": json.dumps(
                {"seconds": self.seconds, "chance": dict(self.chance)}
            ).encode()
        }
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            pq.write_table(pa.table(columns).replace_schema_metadata(note), part)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> ScoreTable:
        """Read a table that `save` wrote."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        table = pq.ParquetFile(path).read()
        note = json.loads((table.schema.metadata or {}).get(b"prunesweep", b"{}"))
        tasks: dict[str, TaskSamples] = {}
        for name in table["task"].unique().to_pylist():
            rows = table.filter(pc.equal(table["task"], name)).to_pydict()
            tasks[name] = TaskSamples(
                tuple(rows["doc_id"]),
                tuple(rows["image_id"]),
                np.array(rows["score"]),
                np.array(rows["weight"]),
                tuple(rows["answer"]),
                tuple(cut for cut in rows.get("unfinished", ()) if cut is not None),
            )
        return cls(tasks, note.get("seconds"), chance=note.get("chance", {}))
