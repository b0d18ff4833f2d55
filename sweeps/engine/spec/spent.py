"""What a sweep has cost so far.

A trial whose process died has no clock of its own, so the time from its start to its end counts.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from sweeps.engine.spec.ledger import Ledger
from trainables.records import Provenance, TrialRecord
from trainables.specs import Frozen

Interval = tuple[float, float]


class Spent(Frozen):
    """Seconds times devices, seconds in which any trial ran, and trials with a record."""

    device_seconds: float = 0.0
    wall_seconds: float = 0.0
    trials: int = 0


def spent_of(ledger: Ledger) -> Spent:
    """All trials with a record, of whatever base: completed, stopped early and failed ones."""
    records = list(ledger.records(every_base=True).values())
    return Spent(
        device_seconds=sum(device_seconds(record) for record in records),
        wall_seconds=covered(found for r in records if (found := interval(r.provenance))),
        trials=len(records),
    )


def device_seconds(record: TrialRecord) -> float:
    """What a trial cost."""
    if record.cost is not None:
        return sum(record.cost.device_seconds.values())
    begun, ended = interval(record.provenance) or (0.0, 0.0)
    return (ended - begun) * record.spec.workers


def interval(found: Provenance) -> Interval | None:
    """When a trial or its closing pass ran, in seconds since 1970; None where it does not say."""
    try:
        begun, ended = (
            datetime.fromisoformat(text).timestamp() for text in (found.started, found.finished)
        )
    except ValueError:
        return None
    return (begun, max(begun, ended))


def covered(intervals: Iterable[Interval]) -> float:
    """Seconds that lie in at least one of the intervals."""
    total, until = 0.0, float("-inf")
    for begun, ended in sorted(intervals):
        total += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return total


def disk_bytes(ledger: Ledger) -> int:
    """Size of the sweep's folder and of the store that it uses."""
    files = (path for folder in (ledger.folder, ledger.store) for path in folder.rglob("*"))
    return sum(_size(path) for path in files)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # it went while we looked
        return 0
