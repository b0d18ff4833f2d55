"""Who may write into a trial's folder: the process start that claimed it last.

A process that was given up, by Tune, which starts its trial again, or with its driver, may go on
for a while. Every start has a token of its own, and whatever a trial writes is written under it:
the newest claim wins, and an older writer is refused.

In a working copy of an object store the processes of one machine see the file of the claim, and
those of others the numbered claims in the store: whatever is published is asked of both.
"""

import functools
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from trainables.common.copies import remote_of
from trainables.common.files import write_json
from trainables.common.numbered import Numbered

ATTEMPT = "attempt.json"
LOCK = ".attempt.lock"
CLAIMS = ".claims"  # of an object store: numbered files by sweep and trial
PATIENCE_SECONDS = 10.0  # writers hold the lock for milliseconds, unless they are suspended there


def new_attempt() -> str:
    """A token for a process start."""
    return uuid.uuid4().hex[:8]


def claim(folder: Path, attempt: str) -> None:
    """Make `attempt` the only writer of this trial's folder from now on."""
    if (claims := _claims(folder)) is not None:
        while not claims.create(claims.highest() + 1, attempt):
            pass
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
        if (claims := _claims(folder)) is not None:
            highest = claims.highest()
            if not highest or not claims.create(highest + 1, start):
                raise _stale(folder, attempt, "another one")
        _write(folder, start)
    return start


@contextmanager
def owned(folder: Path, attempt: str) -> Iterator[None]:
    """Nobody else can claim the folder during the block, which has to be short.

    In a working copy nobody else of this machine can, and nobody had when the block began.

    Raises:
        RuntimeError: a newer attempt has begun; this writer is stale.
    """
    with owned_here(folder, attempt):
        if (claims := _claims(folder)) is not None:
            highest = claims.highest()
            if highest and not belongs(owner := _claimant(claims, highest), attempt):
                raise _stale(folder, attempt, owner)
        yield


@contextmanager
def owned_here(folder: Path, attempt: str) -> Iterator[None]:
    """The same for what stays on this machine for now: other machines' claims are not looked at.

    Raises:
        RuntimeError: a newer attempt has begun on this machine.
    """
    with FileLock(folder / LOCK):
        refuse_stale(folder, attempt)
        yield


def refuse_stale(folder: Path, attempt: str) -> None:
    """Raise when another attempt has claimed the folder since, on this machine.

    Raises:
        RuntimeError: names both attempts.
    """
    owner = json.loads((folder / ATTEMPT).read_text(encoding="utf-8"))["attempt"]
    if not belongs(owner, attempt):
        raise _stale(folder, attempt, owner)


def belongs(token: str, attempt: str) -> bool:
    """Whether a token is that of `attempt`, or of a start of its workers (see `claim_within`)."""
    return token == attempt or token.startswith(f"{attempt}.")


def _stale(folder: Path, attempt: str, owner: str) -> RuntimeError:
    return RuntimeError(f"attempt {attempt} is stale: {folder.name} belongs to attempt {owner}")


def _claims(folder: Path) -> Numbered | None:
    """The claims of this trial in the object store; None for an ordinary folder."""
    if (place := remote_of(folder)) is None or not place.is_shared:
        return None
    return Numbered(place.root / CLAIMS / place.name)


@functools.lru_cache(maxsize=64)
def _claimant(claims: Numbered, number: int) -> str:
    """Whose claim it is, which never changes."""
    return claims.read(number)


def _write(folder: Path, attempt: str) -> None:
    for leftover in folder.glob(".*.part"):  # of an attempt that was killed, or is stale by now
        leftover.unlink(missing_ok=True)
    write_json(folder / ATTEMPT, {"attempt": attempt, "pid": os.getpid()})
