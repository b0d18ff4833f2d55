"""One `run` per sweep at a time: a lock file that names its owner, so that a stale one is known."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from sweeps.engine.spec.loading import BadInputError

FILE = "run.lock"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold `<sweep>/run.lock`, for the sweep whose folder this is.

    The file is created exclusively and holds host, pid and the process's start time. A lock of this
    host whose process is gone (or whose pid now belongs to another process) is taken over.

    Raises:
        BadInputError: another process runs the sweep; says which one.
    """
    path = folder / FILE
    with suppress(FileNotFoundError):
        if _is_stale(_owner(path)):
            path.unlink()
    me = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }
    # The content appears together with the name: a reader never sees an empty lock.
    part = path.with_name(f".{FILE}.{os.getpid()}.part")
    part.write_text(json.dumps(me), encoding="utf-8")
    try:
        os.link(part, path)
    except FileExistsError:
        owner = lock_holder(folder) or {}
        raise BadInputError(
            f"sweep {folder.name!r} is already being run by process {owner.get('pid', '?')} on "
            f"{owner.get('host', '?')}; wait for it, or stop it first. If that machine is gone, "
            f"delete {path}"
        ) from None
    finally:
        part.unlink(missing_ok=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def lock_holder(folder: Path) -> dict[str, object] | None:
    """Host and pid of the process that runs the sweep of this folder; None when nobody does."""
    try:
        owner = _owner(folder / FILE)
    except FileNotFoundError:
        return None
    return None if _is_stale(owner) else owner


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
