"""The study's printed numbers (arXiv 2507.20749, 2604.24380), averages and retentions recomputed.

A reference to compare with and a test of our own aggregation; none of them is a result of this
project. Where the printed numbers contradict each other is listed in `README.md` beside this file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.common.names import nearest
from trainables.records import OWN_SCALE
from trainables.specs import Frozen

# Printed costs that contradict the other rows of their column (see `README.md`): model, method and
# nominal ratio -> the column of the cost tables.
OFF_THE_LINE = {
    ("llava-v1.5-7b", "layerwise", 0.60): "allocated_memory_mib",
    ("llava-v1.5-7b", "layerwise", 0.15): "tflops",
}


class PublishedScores(Frozen):
    """One row of an accuracy table: raw task scores as printed, and the printed aggregates."""

    table: int
    model: str
    method: str
    nominal_ratio: float
    recovery: str
    scores: dict[str, float]
    printed_average: float
    printed_retention_percent: float

    @property
    def average(self) -> float:
        """The mean of the tasks on 0..100, recomputed from the row."""
        return average(self.scores)


def average(scores: Mapping[str, float]) -> float:
    """The mean of raw task scores, MME rescaled to 0..100."""
    return sum(score / OWN_SCALE.get(task, 1.0) for task, score in scores.items()) / len(scores)


def load_published() -> dict[str, Any]:
    """Every published table as plain data, by topic (`accuracy`, `cost`, `distillation`, ...)."""
    return _read("tables.json")


def load_extended() -> dict[str, Any]:
    """The extended study's tables of nine benchmarks (`zero_shot`, `best_recovered`)."""
    return _read("extended.json")


def _read(name: str) -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return tables


def published_accuracy() -> list[PublishedScores]:
    """The rows of the accuracy tables (1 and 8), dense models included."""
    return [PublishedScores.model_validate(row) for row in load_published()["accuracy"]]


def published_rows(model: str, what: str) -> list[PublishedScores]:
    """The rows of `model`, of which `what` is asked for.

    Raises:
        ValueError: the study has no such model; lists those that it has.
    """
    rows = published_accuracy()
    models = sorted({row.model for row in rows})
    if model not in models:
        raise ValueError(
            f"the study's tables have no {what} of '{model}'; they have {', '.join(models)}"
            f"{nearest(model, models)}"
        )
    return [row for row in rows if row.model == model]


def recomputed_retention(row: PublishedScores, rows: list[PublishedScores]) -> float:
    """The row's average over that of the dense model of the same table, from the printed scores."""
    dense = next(r for r in rows if (r.table, r.model, r.method) == (row.table, row.model, "dense"))
    return row.average / dense.average
