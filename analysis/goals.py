"""What a sweep searches by: axes to make better, and limits to keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from analysis.axes import AXES, Axis, search_axis
from trainables.records import TrialRecord

DEFAULT_OBJECTIVES = ("retention", "recovery_tflops")


@dataclass(frozen=True)
class Goals:
    """Objectives, and limits by axis: the most where lower is better, else the least.

    Values are those of a trial's own record, so scores are of the search split and estimates: a
    limit on retention is kept by 0.9 +- 0.1 if it is 0.9. Recovery cost is what was spent, whether
    the student that was trained is the trial's or not.
    """

    objectives: tuple[Axis, ...] = tuple(AXES[name] for name in DEFAULT_OBJECTIVES)
    limits: Mapping[str, tuple[Axis, float]] = field(default_factory=dict)

    @classmethod
    def named(
        cls, objectives: Iterable[str], limits: Mapping[str, float], tasks: Iterable[str]
    ) -> Goals:
        """The goals of these names; `tasks` are names of scores that every trial has.

        Raises:
            ValueError: an unknown name, one that is measured after the search, no objective, or
                one twice.
        """
        names, scores = tuple(objectives), tuple(tasks)
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"objectives={list(names)}, but must name at least one axis, and each once"
            )
        return cls(
            tuple(search_axis(name, scores, "objectives") for name in names),
            {name: (search_axis(name, scores, "limits"), v) for name, v in limits.items()},
        )

    def reached(self, record: TrialRecord) -> tuple[float | None, ...]:
        """The record's value of every objective."""
        return tuple(axis.reached(record) for axis in self.objectives)

    def excess(self, record: TrialRecord) -> dict[str, float | None]:
        """By limit how far the record is beyond it (`Axis.excess`); None where it has no value."""
        found: dict[str, float | None] = {}
        for name, (axis, limit) in self.limits.items():
            value = axis.reached(record)
            found[name] = None if value is None else axis.excess(value, limit)
        return found

    def kept_by(self, record: TrialRecord) -> bool:
        """Whether the record has what is limited, and is within."""
        return all(beyond is not None and beyond <= 0 for beyond in self.excess(record).values())
