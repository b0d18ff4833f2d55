"""A lease: who holds something, heard from every few seconds, and who came after whom.

`lease/<number>.json` in a folder, that of a sweep for instance, belongs to one holder. Whoever
takes it over creates the next number exclusively (`numbered`), so that of several one succeeds, and
the holder of a lower number may no longer write. Times of two machines are never compared: a lease
that is not renewed is one whose content stays the same for `LEASE_SECONDS` on the clock of whoever
looks.
"""

import errno
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from trainables.common.numbered import Numbered
from trainables.common.provenance import now
from trainables.specs import Frozen

FOLDER = "lease"
BEAT_SECONDS = 5.0
AWAY_SECONDS = 45.0  # without a renewal a run ends by itself, before another one takes over
SILENT = "no answer"
LEASE_SECONDS = 60.0  # above what a shared file system keeps from other hosts (NFS: 30 s)


class Lease(Frozen):
    """Who holds it.

    Attributes:
        number: of all leases of the folder; the highest one counts.
        token: of this holder, and no other one.
        host: name of the machine, which others may have too; `boot` is its kernel's own.
        space: of process ids, which a container has for itself.
        pid, ticks: the process, and when it was started, in ticks since the machine was.
        since: ISO 8601.
        beat: rises every `BEAT_SECONDS`.
        ended: whether its holder has left it.
    """

    number: int
    token: str
    host: str
    boot: str
    space: str
    pid: int
    ticks: int
    since: str
    beat: int = 0
    ended: bool = False

    @property
    def holder(self) -> str:
        """In words."""
        return f"process {self.pid} on {self.host}, since {self.since[:16].replace('T', ' ')} UTC"

    def alive(self) -> bool | None:
        """Whether the holder still runs; None where that cannot be seen from here."""
        if self.ended:
            return False
        if (self.boot, self.space) != (_boot(), _space()):
            return None
        return _ticks(self.pid) == self.ticks


def latest(folder: Path) -> Lease | None:
    """The lease in this folder that counts; None if there never was one."""
    files = _files(folder)
    for number in files.numbers():
        with suppress(FileNotFoundError):
            return _read(files, number)
    return None


def next_lease(folder: Path, before: Lease | None) -> Lease | None:
    """The lease after `before`, for this process; None if somebody else was faster."""
    number = before.number + 1 if before else 1
    lease = Lease(
        number=number,
        token=uuid.uuid4().hex,
        host=socket.gethostname(),
        boot=_boot(),
        space=_space(),
        pid=os.getpid(),
        ticks=_ticks(os.getpid()) or 0,
        since=now(),
    )
    files = _files(folder)
    if not files.create(number, lease.model_dump_json(indent=1)):
        return None
    if not _counts(folder, lease):  # who took over a later one has deleted this number
        files.delete(number)
        return None
    files.delete(*(older for older in files.numbers() if older != number))
    return lease


def is_held(folder: Path, lease: Lease) -> bool:
    """Whether somebody seems to hold the lease, for whoever wants to know now.

    Of another machine its file's age tells, roughly: clocks may differ.
    """
    alive = lease.alive()
    if alive is not None:
        return alive
    try:
        return _files(folder).age(lease.number) < 2 * LEASE_SECONDS
    except OSError:
        return False


def renewed(folder: Path, seen: Lease, seconds: float) -> bool:
    """Whether a lease is renewed, or followed by another one, while this waits for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(0.5, seconds / 10))
        if (found := latest(folder)) != seen:
            return found is not None and not found.ended
    return False


class Held:
    """A lease that this process holds, and renews from a thread of its own.

    Args:
        folder: where it is.
        lease: its own.
        lost: is called once, from the thread, when another holder has taken over.
        away: is told, from another thread, why the lease cannot be renewed any more: the storage
            refuses, or does not answer at all.
    """

    def __init__(
        self,
        folder: Path,
        lease: Lease,
        lost: Callable[[], None],
        away: Callable[[str], None],
    ) -> None:
        self._folder, self._lease, self._lost, self._away = folder, lease, lost, away
        self._stopped, self._left = threading.Event(), threading.Event()
        self._unheard = 0.0  # seconds since the last renewal, those aside in which nothing ran here
        self._why = SILENT
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def counts(self) -> bool:
        """Whether it is still this process's."""
        return _counts(self._folder, self._lease)

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lease during the block, and leave it at its end."""
        self._thread.start()
        threading.Thread(target=self._watch, name="storage", daemon=True).start()
        try:
            yield
        finally:
            self._stopped.set()
            self._thread.join()
            with suppress(OSError):
                self._write(ended=True)
            self._left.set()  # not before: a storage that does not answer may hold up the above

    def _beat(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            self._why = SILENT  # unless it answers
            try:
                if not self._write(beat=self._lease.beat + 1):
                    return self._lost()
                self._unheard = 0.0
            except OSError as error:  # a storage that is away for a moment
                self._why = error.strerror or str(error)
        return None

    def _watch(self) -> None:
        while not self._left.wait(1.0):
            self._unheard += 1.0
            if self._unheard > AWAY_SECONDS:
                return self._away(self._why)
        return None

    def _write(self, **changed: int) -> bool:
        """Change the lease, and say whether it still counts; else it is left as it is."""
        if not self.counts():
            return False
        self._lease = self._lease.model_copy(update=changed)
        _files(self._folder).replace(self._lease.number, self._lease.model_dump_json(indent=1))
        return True


def _files(folder: Path) -> Numbered:
    return Numbered(folder / FOLDER)


def _counts(folder: Path, lease: Lease) -> bool:
    """Whether no later lease was given, and none instead of this one.

    Raises:
        FileNotFoundError: there is none at all, since the folder is gone.
    """
    found = latest(folder)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / FOLDER))
    return found.token == lease.token


def _read(files: Numbered, number: int) -> Lease:
    text, until = files.read(number), time.monotonic() + 1.0
    while True:
        try:
            return Lease.model_validate_json(text)
        except ValueError:
            if time.monotonic() > until:  # its writer died in the middle
                return Lease(number=number, token="", host="?", boot="", space="", pid=0, ticks=0,
                             since=now(), ended=True)  # fmt: skip
        time.sleep(0.01)  # it is being written
        text = files.read(number)


def _boot() -> str:
    """What tells this start of this machine from all others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _ticks(pid: int) -> int | None:
    """When a process was started, on a clock that nobody sets; None for one that is gone."""
    try:
        status, *_, ticks = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:20]
        )
        return None if status in "ZX" else int(ticks)
    except OSError:
        pass
    try:
        process = psutil.Process(pid)
        return None if process.status() == "zombie" else round(process.create_time())
    except psutil.Error:
        return None
