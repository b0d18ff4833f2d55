"""One `run` per sweep at a time, and who it is.

On one machine the kernel decides (`filelock`): its lock ends with its process. Between machines,
and wherever a file system keeps such locks to each host, a lease does (see
`trainables.common.lease`): one that is not renewed for a minute is taken over.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sweeps.engine.ended import EndedError, unwritable
from sweeps.engine.spec.loading import BadInputError
from trainables.common import lease as leases
from trainables.common.lease import Held, Lease, is_held, latest, next_lease, renewed

HELD = ".run.lock"  # what the kernel's lock is on; empty, and never deleted


class TakenOverError(EndedError):
    """Another run holds the sweep by now; says which one."""


class HeldSweep(Held):
    """The lease of a sweep."""

    def check(self) -> None:
        """Raise unless the sweep is still this run's to write.

        Raises:
            TakenOverError: another run has taken over.
        """
        if not self.counts():
            other = latest(self.folder)
            raise TakenOverError(
                f"sweep {self.folder.name!r} was taken over by {other.holder if other else '?'}; "
                "this run has ended, and that one goes on from what was finished"
            )


@contextmanager
def run_lock(
    folder: Path,
    take_over: bool = False,
    say: Callable[[str], None] = lambda _: None,
    away: Callable[[str], None] = lambda _: None,
) -> Iterator[HeldSweep]:
    """Hold the sweep whose folder this is.

    Args:
        folder: of the sweep.
        take_over: do not wait until a lease of another machine has expired, and end a run of this
            one: it may write no more from then on.
        say: is told why it waits.
        away: is told why the storage no longer takes the run's renewals; it has to end the run.

    Raises:
        BadInputError: another process runs the sweep; says which one.
        TakenOverError: another one took over during the block.
    """
    kernel = FileLock(folder / HELD)
    try:
        kernel.acquire(blocking=False)
        free = True
    except Timeout:
        free = False
    except (NotImplementedError, OSError):  # no such locks there; the lease alone decides
        free = True
    try:
        before = latest(folder)
        if not take_over and not (free and _is_free(folder, before, say)):
            raise _refusal(folder, before)
        mine = next_lease(folder, before)
        if mine is None:
            raise _refusal(folder, before)
        held = HeldSweep(folder, mine, _interrupt, lambda why: away(unwritable(folder, why)))
        with held.kept():
            try:
                yield held
            except BaseException:
                held.check()  # whatever came of it, this is what is to be said
                raise
    finally:
        kernel.release()


def lock_holder(folder: Path) -> Lease | None:
    """The lease of the process that runs the sweep of this folder; None when nobody does."""
    found = latest(folder)
    return found if found and is_held(folder, found) else None


def _is_free(folder: Path, before: Lease | None, say: Callable[[str], None]) -> bool:
    """Whether nobody holds the lease, seen by whoever has this kernel's lock."""
    if before is None or before.ended:
        return True
    alive = before.alive()
    if alive is not None:
        return not alive
    seconds = leases.LEASE_SECONDS
    say(
        f"Sweep {folder.name!r} was run by {before.holder}, and did not end. Waiting up to "
        f"{seconds:.0f} s for a sign of it; --take-over does not wait."
    )
    return not renewed(folder, before, seconds)


def _refusal(folder: Path, before: Lease | None) -> BadInputError:
    """Says who holds it, of which nothing was to be seen in the lease `before`."""
    until = time.monotonic() + 1.0  # whoever has just won is about to write its name
    who = None
    while who is None and time.monotonic() < until:
        found = latest(folder)
        if found is not None and (found != before or found.alive()):
            who = found.holder
        else:
            time.sleep(0.01)
    who = who or "another process of this machine, which begins just now"
    return BadInputError(
        f"sweep {folder.name!r} is already being run by {who}; "
        "wait for it, or stop it first; `run --take-over` ends it and goes on from here"
    )


def _interrupt() -> None:
    """As a stop from outside does: on SIGTERM where the command line listens, else on SIGINT."""
    listens = callable(signal.getsignal(signal.SIGTERM))
    os.kill(os.getpid(), signal.SIGTERM if listens else signal.SIGINT)
