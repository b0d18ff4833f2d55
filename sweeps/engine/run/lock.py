"""One `run` per sweep at a time: a lock file that names its owner, so that a stale one is known."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import psutil

from sweeps.engine.spec.loading import BadInputError

FILE = "run.lock"


class RunLock:
    """Context manager that holds `<sweep>/run.lock`.

    The file is created exclusively and holds host, pid and the process's start time. A lock of this
    host whose process is gone (or whose pid now belongs to another process) is taken over.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def __enter__(self) -> RunLock:
        owner = self._owner()
        if owner is not None and _is_stale(owner):
            self.path.unlink(missing_ok=True)
        me = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
        }
        # The content appears together with the name: a reader never sees an empty lock.
        part = self.path.with_name(f".{FILE}.{os.getpid()}.part")
        part.write_text(json.dumps(me), encoding="utf-8")
        try:
            os.link(part, self.path)
        except FileExistsError:
            raise BadInputError(self._refusal()) from None
        finally:
            part.unlink(missing_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.path.unlink(missing_ok=True)

    def holder(self) -> dict[str, object] | None:
        """Host and pid of the process that holds the lock; None when nobody does."""
        owner = self._owner()
        return None if owner is None or _is_stale(owner) else owner

    def _owner(self) -> dict[str, object] | None:
        try:
            owner = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return owner if isinstance(owner, dict) else {}

    def _refusal(self) -> str:
        owner = self._owner() or {}
        return (
            f"sweep {self.path.parent.name!r} is already being run by process "
            f"{owner.get('pid', '?')} on {owner.get('host', '?')}; wait for it, or stop it first. "
            f"If that machine is gone, delete {self.path}"
        )


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
