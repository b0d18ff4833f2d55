"""The course of a recovery: one JSON line per step."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

CURVES = "curves.jsonl"
OTHER = ("step", "grad_norm", "learning_rate", "skipped")  # what a line holds beside its terms


class Curves:
    """Appends a line per step; a resumed trial drops the lines after its checkpoint."""

    def __init__(self, path: Path, resumed_at: int) -> None:
        """Keep the first `resumed_at` lines of the file."""
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.write_text("".join(f"{line}\n" for line in lines[:resumed_at]), encoding="utf-8")
        self._path = path

    def write(
        self,
        step: int,
        terms: dict[str, float],
        grad_norm: float | None,
        learning_rate: float,
        skipped: str | None,
    ) -> None:
        """Add a step; values that are not finite become null."""
        row: dict[str, float | str | None] = {
            "step": step,
            "grad_norm": _finite(grad_norm),
            "learning_rate": learning_rate,
            **{name: _finite(value) for name, value in terms.items()},
        }
        if skipped:
            row["skipped"] = skipped
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def mean(self, steps: int) -> dict[str, float]:
        """Each term's mean over the last `steps` lines, those before a resume included.

        Skipped steps do not count.
        """
        lines = self._path.read_text(encoding="utf-8").splitlines()[-steps:]
        rows = [row for row in map(json.loads, lines) if "skipped" not in row]
        names = [name for name in (rows or [{}])[0] if name not in OTHER]
        return {name: float(np.mean([row[name] for row in rows])) for name in names}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
