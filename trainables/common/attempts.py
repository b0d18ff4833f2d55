"""Who may write into a trial's folder: the process start that claimed it last.

A process that was given up, by Tune, which starts its trial again, or with its driver, may go on
for a while. Every start has a token of its own, and whatever a trial writes is written under it:
the newest claim wins, and an older writer is refused.
"""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from trainables.common.files import write_json

ATTEMPT = "attempt.json"
LOCK = ".attempt.lock"
PATIENCE_SECONDS = 10.0  # writers hold the lock for milliseconds, unless they are suspended there


def new_attempt() -> str:
    """A token for a process start."""
    return uuid.uuid4().hex[:8]


def claim(folder: Path, attempt: str) -> None:
    """Make `attempt` the only writer of this trial's folder from now on."""
    lock = FileLock(folder / LOCK)
    with suppress(Timeout):
        lock.acquire(timeout=PATIENCE_SECONDS)
    try:
        _write(folder, attempt)
    finally:
        lock.release()


def claim_within(folder: Path, attempt: str) -> str:
    """Claim the folder for one start of `attempt`'s workers; `attempt` itself may still write.

    Returns:
        The start's token.

    Raises:
        RuntimeError: a newer attempt has begun.
    """
    start = f"{attempt}.{new_attempt()}"
    with owned(folder, attempt):
        _write(folder, start)
    return start


@contextmanager
def owned(folder: Path, attempt: str) -> Iterator[None]:
    """Nobody else can claim the folder during the block, which has to be short.

    Raises:
        RuntimeError: a newer attempt has begun; this writer is stale.
    """
    with FileLock(folder / LOCK):
        refuse_stale(folder, attempt)
        yield


def refuse_stale(folder: Path, attempt: str) -> None:
    """Raise when another attempt has claimed the folder since.

    Raises:
        RuntimeError: names both attempts.
    """
    owner = json.loads((folder / ATTEMPT).read_text(encoding="utf-8"))["attempt"]
    if not belongs(owner, attempt):
        raise RuntimeError(f"attempt {attempt} is stale: {folder.name} belongs to attempt {owner}")


def belongs(token: str, attempt: str) -> bool:
    """Whether a token is that of `attempt`, or of a start of its workers (see `claim_within`)."""
    return token == attempt or token.startswith(f"{attempt}.")


def _write(folder: Path, attempt: str) -> None:
    for leftover in folder.glob(".*.part"):  # of an attempt that was killed, or is stale by now
        leftover.unlink(missing_ok=True)
    write_json(folder / ATTEMPT, {"attempt": attempt, "pid": os.getpid()})
