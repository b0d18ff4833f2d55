"""The commands that run a sweep once more, from nothing."""

import shlex
from pathlib import Path
from typing import Any

from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.loading import load_sweep, shipped_sweeps
from trainables.records import SWEEP

AFRESH = " --storage again"  # in its own storage it would find all of its trials done
MOST_SETTINGS = 6  # in a command; with more the file of the sweep is shorter


def repeat_commands(sweep: SweepSpec, folder: Path) -> tuple[str, ...]:
    """`prunesweep run` of a shipped sweep with its settings, else of the file that was kept.

    Args:
        sweep: as it was run.
        folder: of the sweep in the ledger.
    """
    if sweep.name in shipped_sweeps():
        found = _settings(
            load_sweep(sweep.name).model_dump(mode="json"), sweep.model_dump(mode="json")
        )
        if found is not None and len(found) <= MOST_SETTINGS:
            settings = "".join(f" --set {shlex.quote(setting)}" for setting in found)
            return (f"prunesweep run {sweep.name}{settings}{AFRESH}",)
    copy = f"{sweep.name}.yaml"
    return (
        f"cp {shlex.quote(str(folder / SWEEP))} {shlex.quote(copy)}",
        f"prunesweep run {shlex.quote(copy)}{AFRESH}",
    )


def _settings(old: Any, new: Any, name: str = "") -> list[str] | None:
    """What to set for `new`; None where that cannot be written as plain values."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        found: list[str] = []
        for key in old:
            inner = _settings(old[key], new[key], f"{name}.{key}" if name else key)
            if inner is None:
                return None
            found += inner
        return found
    if old == new:
        return []
    if isinstance(new, dict | list):
        return None
    return [f"{name}={'null' if new is None else new}"]
