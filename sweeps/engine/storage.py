"""Where runs are kept unless told otherwise, and how printed commands name another place."""

import shlex
from pathlib import Path

RUNS = Path("runs")


def storage_option(storage: Path) -> str:
    """What a printed command needs besides to find the storage; empty for the default."""
    usual = storage.resolve() == RUNS.resolve()
    return "" if usual else f" --storage {shlex.quote(str(storage))}"
