"""One `run` per sweep at a time, and who it is.

The kernel holds the lock (`filelock`), so it ends with its process and a stale one needs no taking
over. `run.lock` beside it names the owner. It is created exclusively, and refuses other hosts too,
where a shared file system keeps the kernel's locks to each host.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from sweeps.engine.spec.loading import BadInputError

FILE = "run.lock"
HELD = f".{FILE}"  # what the kernel's lock is on; empty, and never deleted


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the sweep whose folder this is.

    Raises:
        BadInputError: another process runs the sweep; says which one.
    """
    path = folder / FILE
    me = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }
    try:
        held = FileLock(folder / HELD).acquire(blocking=False)
    except Timeout:
        raise _refusal(folder) from None
    with held:
        with suppress(FileNotFoundError):
            if _is_stale(_owner(path)):
                path.unlink()
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(me))
        except FileExistsError:
            raise _refusal(folder) from None
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                if _owner(path) == me:  # else deleted by hand, and another host's by now
                    path.unlink()


def lock_holder(folder: Path) -> dict[str, object] | None:
    """Host and pid of the process that runs the sweep of this folder; None when nobody does."""
    try:
        owner = _owner(folder / FILE)
    except FileNotFoundError:
        return None
    return None if _is_stale(owner) else owner


def _refusal(folder: Path) -> BadInputError:
    """Says who has the lock."""
    until = time.monotonic() + 1.0  # whoever has just won is about to write its name
    while (owner := lock_holder(folder)) is None and time.monotonic() < until:
        time.sleep(0.01)
    owner = owner or {}
    pid, host, since = owner.get("pid", "?"), owner.get("host", "?"), ""
    with suppress(ValueError):
        started = datetime.fromtimestamp(float(str(owner.get("started"))), UTC)
        since = f", since {started:%Y-%m-%d %H:%M} UTC"
    gone = f". If that machine is gone, delete {folder / FILE}"
    return BadInputError(
        f"sweep {folder.name!r} is already being run by process {pid} on {host}{since}; wait for "
        f"it, or stop it first{'' if host == socket.gethostname() else gone}"
    )


def _owner(path: Path) -> dict[str, object]:
    """What the lock says; nothing if it cannot be understood."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_stale(owner: dict[str, object]) -> bool:
    if owner.get("host") != socket.gethostname():
        return not owner  # an unreadable lock belongs to nobody; another host cannot be asked
    try:
        process = psutil.Process(int(str(owner["pid"])))
        started = float(str(owner["started"]))
        other = abs(process.create_time() - started) > 1.0
        return bool(other or process.status() == "zombie")
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return True
