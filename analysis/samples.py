"""What every question of a trial scored, read from the tables in its folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.load import Trial
from trainables.records import REPORT_SAMPLES, SEARCH_SAMPLES
from trainables.specs import Split

Floats = NDArray[np.float64]
Names = NDArray[np.str_]

FILES: dict[Split, str] = {"search": SEARCH_SAMPLES, "report": REPORT_SAMPLES}


@dataclass(frozen=True, eq=False)
class Samples:
    """N scored questions of one model, in one order whichever model answered: arrays [N].

    Attributes:
        tasks: the reported task of each.
        docs: its position in the task's data.
        images: the image that it is about.
        scores: on 0..100.
        weights: of the task's mean.
    """

    tasks: Names
    docs: NDArray[np.int64]
    images: Names
    scores: Floats
    weights: Floats

    @property
    def task_names(self) -> list[str]:
        """The reported tasks."""
        return list(dict.fromkeys(self.tasks.tolist()))

    @cached_property
    def influences(self) -> Floats:
        """How much each question moves the average: w_i (s_i - a_t) / (sum w * T), [N]."""
        moved = np.zeros(len(self.scores))
        names = self.task_names
        for name in names:
            at = self.tasks == name
            share = self.weights[at] / self.weights[at].sum()
            moved[at] = share * (self.scores[at] - (share * self.scores[at]).sum())
        return moved / len(names)

    def same_questions(self, other: Samples) -> bool:
        """Whether both models answered the same questions about the same images."""
        return len(self.docs) == len(other.docs) and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("tasks", "docs", "images", "weights")
        )


def trial_samples(trial: Trial, split: Split) -> Samples | None:
    """The trial's scored questions of `split`; None where they were not kept.

    Trials of an older version, and those whose scores came over without their folders, have none.
    """
    path = trial.folder / FILES[split] if trial.folder else None
    if path is None or not path.exists():
        return None
    stamp = os.stat(path)
    return _read(path, stamp.st_mtime_ns, stamp.st_size)


def image_sums(images: Names, values: Floats) -> Floats:
    """`values` [..., N] summed by image, in the order of the images' names: [..., G]."""
    _, cluster = np.unique(images, return_inverse=True)
    rows = values.reshape(-1, values.shape[-1])
    sums: Floats = np.stack([np.bincount(cluster, weights=row) for row in rows])
    return sums.reshape(*values.shape[:-1], sums.shape[-1])


def same_questions(tables: Sequence[Samples | None]) -> list[list[int]]:
    """Positions of the tables by what was asked, the largest group first; loners are left out."""
    groups: list[tuple[Samples, list[int]]] = []
    for place, table in enumerate(tables):
        if table is None:
            continue
        for first, group in groups:
            if table.same_questions(first):
                group.append(place)
                break
        else:
            groups.append((table, [place]))
    return sorted((group for _, group in groups if len(group) > 1), key=len, reverse=True)


def difference_variances(tables: Sequence[Samples]) -> tuple[Floats, int]:
    """Variances of the differences of M models' averages, in squared points, and images: [M, M], G.

    The models answered the same questions; clustered by image: G / (G - 1) * sum_g (U_g - V_g)^2,
    with U_g and V_g the sums of two models' influences over the questions about image g.
    """
    sums = image_sums(tables[0].images, np.stack([table.influences for table in tables]))
    count = sums.shape[1]
    products = sums @ sums.T
    own = np.diag(products)
    squares: Floats = np.maximum(own[:, None] + own[None, :] - 2 * products, 0.0)
    return squares * (count / (count - 1) if count > 1 else np.inf), count


@lru_cache(maxsize=512)  # a running sweep asks for the same tables after every trial
def _read(path: Path, _stamp: int, _size: int) -> Samples:
    import pyarrow.parquet as pq

    columns = ["task", "doc_id", "image_id", "score", "weight"]
    table = pq.ParquetFile(path).read(columns=columns)
    tasks, docs, images, scores, weights = (np.array(table[name]) for name in columns)
    order = np.lexsort((docs, tasks))
    return Samples(
        tasks.astype(np.str_)[order],
        docs[order],
        images.astype(np.str_)[order],
        scores[order],
        weights[order],
    )
