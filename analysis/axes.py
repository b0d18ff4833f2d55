"""The axes of a frontier and of limits: one row each, and nothing else to touch for a new one.

The choices of `--x`, the columns of tables and files, the titles of pictures, the direction of the
hypervolume, the limits of `recommend` and the metrics of MLflow follow from the table.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from trainables.common.names import nearest
from trainables.records import (
    ClosingReport,
    EvaluationReport,
    Latency,
    TrialRecord,
    quoted_scores,
)

Read = Callable[[TrialRecord, ClosingReport | None], float | None]


@dataclass(frozen=True)
class Axis:
    """A number that every trial has, or lacks where it was not measured.

    Attributes:
        name: the field of a point, the column of a file, the metric in MLflow.
        label: for pictures.
        unit: of the values; empty for counts and fractions.
        better: which values are.
        read: the value of a record and, once there is one, its closing report.
        heading: of its column in tables; the label where it is empty.
        listed: whether every table of a frontier shows it, whatever the frontier's own axis.
        frontier: whether a frontier can be drawn over it.
        absent: models that have no place on it: all references, or those of another base.
        ends: point fields that hold the ends of the value's 95 % interval.
        measured: whether a device measured it, so that values of two devices do not compare.
        derived: whether other numbers give it, so that MLflow need not hold it.
        sized: whether the size of the model decides it, more than how it was recovered.
        spent: what a search goes by instead, where trials may spend more than their model needs.
    """

    name: str
    label: str
    unit: str
    better: Literal["lower", "higher"]
    read: Read
    heading: str = ""
    listed: bool = False
    frontier: bool = True
    absent: Literal["", "references", "foreign"] = ""
    ends: tuple[str, str] | None = None
    measured: bool = False
    derived: bool = False
    sized: bool = False
    spent: Read | None = None

    def reached(self, record: TrialRecord) -> float | None:
        """The value that a search goes by."""
        return (self.spent or self.read)(record, None)

    @property
    def title(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def column(self) -> str:
        """The heading of a table's column."""
        return self.heading or self.label

    def cost(self, value: float | None) -> float:
        """The value so that less is better; 0 where there is none."""
        return (value or 0.0) * (1 if self.better == "lower" else -1)

    def excess(self, value: float, limit: float) -> float:
        """By how much `value` breaks a limit, as a share of it; at most 0 where it keeps it.

        The limit is the most on an axis where lower is better, else the least.
        """
        beyond = value - limit if self.better == "lower" else limit - value
        return beyond / (abs(limit) or 1.0)


def quiet_latency(record: TrialRecord, report: ClosingReport | None) -> Latency | None:
    """The latency of the closing pass, which measures alone, else the one that the record holds."""
    if report is not None and report.latency is not None:
        return report.latency
    return record.efficiency.latency if record.efficiency else None


def retention_of(
    record: TrialRecord, evaluation: EvaluationReport | None
) -> tuple[float | None, float | None]:
    """(retention, its standard error) of `evaluation`; (1.0, 0.0) for the dense base itself."""
    if evaluation is None:
        return None, None
    if evaluation.retention is None and record.origin == "reference":
        return 1.0, 0.0
    return evaluation.retention, evaluation.retention_se


def _latency(record: TrialRecord, report: ClosingReport | None) -> float | None:
    latency = quiet_latency(record, report)
    return latency.median_ms if latency else None


def _memory(record: TrialRecord, _: ClosingReport | None) -> float | None:
    """The record's, because only some trials have one that the closing pass measured."""
    efficiency = record.efficiency
    return efficiency.memory.total_mib if efficiency and efficiency.memory else None


def _recovery_spent(record: TrialRecord, _: ClosingReport | None) -> float | None:
    return record.recovery.tflops if record.recovery else None


def _recovery_needed(record: TrialRecord, _: ClosingReport | None) -> float | None:
    """What the trial's model takes to make: nothing where it is the student as it was pruned."""
    return 0.0 if record.kept == "untrained" else _recovery_spent(record, None)


def _retention(record: TrialRecord, report: ClosingReport | None) -> float | None:
    return retention_of(record, quoted_scores(record, report))[0]


def _worst_task(record: TrialRecord, report: ClosingReport | None) -> float | None:
    """The least score of a task over the dense base's; a task that the base fails has none."""
    scores = quoted_scores(record, report)
    if scores is None or scores.retention is None:
        return _retention(record, report)
    pairs = [(task.score, task.paired.dense) for task in scores.tasks.values() if task.paired]
    return min((score / dense for score, dense in pairs if dense > 0), default=None)


AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis("weights_mib", "Weight memory", "MiB", "lower",
             lambda r, _: r.efficiency.weights_mib if r.efficiency else None,
             heading="MiB", listed=True, sized=True),
        Axis("memory_mib", "Memory while answering, computed", "MiB", "lower", _memory,
             heading="memory MiB", sized=True),
        Axis("tflops", "Work of one image and prompt", "TFLOPs", "lower",
             lambda r, _: r.efficiency.tflops if r.efficiency else None,
             heading="TFLOPs", listed=True, sized=True),
        Axis("latency_ms", "Latency, batch 1", "ms", "lower", _latency, heading="ms", listed=True,
             ends=("latency_lower_ms", "latency_upper_ms"), measured=True),
        # A model that was not pruned has nothing to recover: at cost 0 it would dominate all.
        Axis("recovery_tflops", "Recovery training", "TFLOPs", "lower", _recovery_needed,
             heading="recovery TFLOPs", listed=True, absent="references", spent=_recovery_spent),
        Axis("params", "Parameters", "", "lower",
             lambda r, _: r.efficiency.params if r.efficiency else None, frontier=False,
             derived=True, sized=True),
        Axis("lm_params", "Language-model parameters", "", "lower",
             lambda r, _: r.efficiency.lm_params if r.efficiency else None, frontier=False,
             sized=True),
        Axis("ratio", "Fraction of the language model removed", "", "higher",
             lambda r, _: r.pruning.ratio if r.pruning else None, frontier=False, sized=True),
        Axis("kept", "Fraction of the language model kept", "", "lower",
             lambda r, _: 1 - r.pruning.ratio if r.pruning else None,
             heading="kept", absent="foreign", derived=True, sized=True),
        Axis("retention", "Retention", "fraction of the dense average", "higher", _retention,
             frontier=False, derived=True),
        Axis("worst_task", "Retention of the worst task", "fraction of the dense score", "higher",
             _worst_task, frontier=False, derived=True),
    )
}  # fmt: skip
DEFAULT_X = "weights_mib"


def x_axes() -> tuple[str, ...]:
    """Names of the axes over which a frontier can be drawn."""
    return tuple(name for name, axis in AXES.items() if axis.frontier)


def check_axis(name: str, valid: Iterable[str] | None = None) -> Axis:
    """The axis called `name`, if it is one of `valid` (by default any).

    Raises:
        ValueError: it is not; the message lists the valid names and the nearest one.
    """
    names = list(AXES if valid is None else valid)
    if name not in names:
        raise ValueError(
            f"unknown axis '{name}'; valid axes are {', '.join(names)}{nearest(name, names)}"
        )
    return AXES[name]


def search_axis(name: str, tasks: Sequence[str], setting: str) -> Axis:
    """What a sweep may aim at or limit: an axis that every finished trial has, or a task's score.

    Args:
        name: of the axis or task.
        tasks: whose scores a trial has.
        setting: that names it, for errors.

    Raises:
        ValueError: no such axis or task, or one that is measured after the search.
    """
    if name in tasks:
        return task_axis(name)
    valid = [axis.name for axis in AXES.values() if not axis.measured]
    if name in valid:
        return AXES[name]
    why = "is no axis and no task"
    if name in AXES:
        why = "is measured when the search is over, so the search cannot go by it"
    raise ValueError(
        f"{setting}: '{name}' {why}; what a trial has is {', '.join(valid)}, and the score of each "
        f"task: {', '.join(tasks)}{nearest(name, [*valid, *tasks])}"
    )


def task_axis(task: str) -> Axis:
    """The score of one task, which is an axis of the trials that have it."""

    def read(record: TrialRecord, report: ClosingReport | None) -> float | None:
        scores = quoted_scores(record, report)
        found = scores.tasks.get(task) if scores else None
        return found.score if found else None

    return Axis(task, f"Score on {task}", "of 100", "higher", read, frontier=False)
