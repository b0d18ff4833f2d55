"""What a running trial is at, as its folder says."""

import time
from datetime import datetime
from pathlib import Path

from trainables.common.attempts import ATTEMPT
from trainables.common.files import read_if_sound
from trainables.records import STAGE, Stage


def at_work(folder: Path) -> tuple[str, float]:
    """(stage, seconds since it began): `starting` before the first, `waiting` before a process.

    What another attempt left behind does not count.
    """
    claimed = _written(folder / ATTEMPT)
    found = read_if_sound(folder / STAGE, Stage)
    if claimed is None and found is None:
        return "waiting", 0.0
    claimed = claimed or 0.0  # on another machine, which alone has the claim's file
    if found is None or (_written(folder / STAGE) or 0.0) < claimed:
        return "starting", max(0.0, time.time() - claimed)
    return found.stage, max(0.0, time.time() - datetime.fromisoformat(found.since).timestamp())


def _written(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
