"""Whether a cache has room, and what its filling says about itself. Torch-free."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

EVERY_SECONDS = 5.0


def sized(size: float) -> str:
    """Bytes for people: `1.20 GiB`, `34.0 MiB`, `5.3 KiB`."""
    if size >= 2**30:
        return f"{size / 2**30:,.2f} GiB"
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size / 2**10:,.1f} KiB"


class NoRoomError(ValueError):
    """A cache has no room within its limit or on the disk; the message says sizes and way out."""


def refuse_without_room(
    what: str, folder: Path, needed: float, held: float, limit: float, way_out: str
) -> None:
    """Raise unless `needed` more bytes stay within the limit and the disk.

    Args:
        what: the cache, for the message.
        folder: where it lies; it exists.
        needed: bytes that are missing.
        held: bytes that are there.
        limit: most bytes.
        way_out: what to change.

    Raises:
        NoRoomError: they do not.
    """
    if held + needed > limit:
        raise NoRoomError(
            f"{what} would take {sized(held + needed)}, but its limit is {sized(limit)}; {way_out}"
        )
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoRoomError(
            f"{what} needs {sized(needed)} more, but {sized(free)} are free where the store lies; "
            f"free some or move the storage, or {way_out}"
        )


class Progress:
    """Lines on stdout (a trial's log): the size first, then one every few seconds."""

    def __init__(self, what: str, samples: int, size: float) -> None:
        self._what, self._samples = what, samples
        self._start = self._said = time.monotonic()
        self._say(f"{samples:,} to compute, about {sized(size)} of disk")

    def done(self, samples: int) -> None:
        """Tell how many are done, at most every few seconds."""
        now = time.monotonic()
        if now - self._said < EVERY_SECONDS and samples < self._samples:
            return
        self._said, spent = now, now - self._start
        left = spent / samples * (self._samples - samples)
        self._say(f"{samples:,} of {self._samples:,}, {spent:.0f} s, about {left:.0f} s left")

    def _say(self, line: str) -> None:
        print(f"{self._what}: {line}", flush=True)
