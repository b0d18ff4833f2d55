"""Cells of a sweep in which nothing is left to try, as a run leaves word of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from sweeps.engine.spec.ledger import Ledger
from trainables.common.files import read_if_sound
from trainables.specs import Frozen


class UsedUpCell(Frozen):
    """One cell.

    Attributes:
        why: it gets no sampled trial at all; None for a cell that had something to try.
        points: how many points it has, all of them known; None where its continuous factors
            are rounded, so that they could not be counted.
    """

    cell: dict[str, Any] = Field(default_factory=dict)
    points: int | None = None
    why: str | None = None

    @property
    def sentence(self) -> str:
        """The cell, and why."""
        levels = levels_of(self.cell)
        known = f"all {self.points} points are known"
        if self.why is not None:
            known = self.why
        elif self.points is None:
            known = "its factors are rounded to few values, and random draws gave known trials only"
        return f"{levels} ({known})" if levels else known


def levels_of(cell: Mapping[str, Any]) -> str:
    """A cell in words."""
    return " ".join(f"{name}={level}" for name, level in cell.items())


class UsedUp(Frozen):
    """What a run writes beside its trials: the used-up cells, of this many."""

    cells: tuple[UsedUpCell, ...]
    of: int

    def lines(self, samples: int, ledger: Ledger) -> list[str]:
        """What a user should know of it, who asked for this many samples."""
        sampled = sum(r.origin == "sampler" for r in ledger.requests().values())
        where = "; ".join(cell.sentence for cell in self.cells)
        lines = [f"Nothing is left to try in {len(self.cells)} of {self.of} cells: {where}."]
        if len(self.cells) == self.of and sampled < samples:
            lines.append(
                f"So {sampled} of the {samples} samples asked for could be trials; give the "
                "sweep more levels or choices, or ask for fewer."
            )
        elif len(self.cells) < self.of:
            lines.append("Their share of the samples went to the other cells.")
        return lines


def used_up_path(ledger: Ledger) -> Path:
    """Where a run writes it; no file means that no cell is used up."""
    return ledger.folder / "used_up.json"


def used_up_lines(samples: int, ledger: Ledger) -> list[str]:
    """What the last run found used up; empty if nothing."""
    found = read_if_sound(used_up_path(ledger), UsedUp)
    return found.lines(samples, ledger) if found else []
