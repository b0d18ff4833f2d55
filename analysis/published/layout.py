"""What a table of the study is: rows of settings, columns of values, and who has numbers for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.published.entries import (
    NINE,
    SIX,
    Setting,
    Topic,
    Values,
    printed_entries,
    printed_models,
)
from trainables.common.names import unknown

SCORES = "scores"  # a column for each task


@dataclass(frozen=True)
class Row:
    """A row: how it is named, and the setting that fills it."""

    label: str
    setting: Setting


@dataclass(frozen=True)
class Column:
    """A column: its heading, the value that it shows, and what it changes in a row's setting.

    `digits` follow the point in print; a value is printed times `scale`.
    """

    heading: str
    value: str
    digits: int = 2
    scale: float = 1.0
    changes: Mapping[str, Any] = field(default_factory=dict)

    def of(self, row: Row) -> Setting:
        """The setting of a cell."""
        return replace(row.setting, **self.changes)


@dataclass(frozen=True)
class StudyTable:
    """One table.

    Attributes:
        name: as the command line takes it.
        shows: in one sentence.
        topic: of the published data; None where the study draws what stands in the table.
        rows, columns: of the paper's layout.
        number: of its table within the topic; None takes all of it.
        sweeps: shipped sweeps that fill it, besides those of `ALL_SWEEPS`.
    """

    name: str
    shows: str
    topic: Topic | None
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    number: int | None = None
    sweeps: tuple[str, ...] = ()

    @property
    def models(self) -> list[str]:
        """Those with printed numbers, in their order."""
        return printed_models(self.topic, self.number) if self.topic else []

    @property
    def settings(self) -> list[Setting]:
        """Every cell's, each once."""
        return list(dict.fromkeys(column.of(row) for row in self.rows for column in self.columns))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Whose scores the paper averages."""
        return NINE if self.topic in ("zero_shot", "best_recovered") else SIX

    def printed(self, model: str) -> dict[Setting, Values]:
        """The printed numbers of a model.

        Raises:
            ValueError: the table has none; lists the models that it has.
        """
        if self.topic is None:
            raise ValueError(
                f"{self.name} is drawn in the study, which prints no numbers of it; name a sweep "
                "without --published"
            )
        if model not in self.models:
            raise ValueError(unknown(f"model of {self.name}", model, self.models))
        return printed_entries(self.topic, model, self.number)
