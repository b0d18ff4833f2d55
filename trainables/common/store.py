"""A content-addressed store: what does not depend on the ratio is computed once and shared.

An entry is a folder named by the digest of its key. It is built beside and renamed into place under
a lock per entry, so two trials that need the same key compute it once, and a killed builder leaves
nothing that could be taken for a result. Entries are never changed; one whose files are not as
long as they were written, as after a copy that broke off, is built again.

Machines that work on copies of one object store share entries through it: files first, their
sizes last. One of them builds, under a lease that it renews; what it fetches it fetches once.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from trainables.common import lease as leases
from trainables.common.copies import remote_of
from trainables.common.files import building, remove_leftovers, write_json
from trainables.common.lease import Held, latest, next_lease
from trainables.specs import digest

SIZES = "sizes.json"  # of an entry's files, in bytes
NAP_SECONDS = 0.5
LOG = "built.jsonl"  # a row per entry ever built: `kind`, `digest`, `key`, `seconds`


class Store:
    """Entries below one folder on a local disk or a shared file system (NFS and the like).

    Or in a working copy of an object store (see `copies`).
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def get_or_create(
        self, kind: str, key: dict[str, Any], build: Callable[[Path], None]
    ) -> tuple[Path, bool]:
        """Return the entry's folder, building it if nobody has.

        Args:
            kind: what the entry is, e.g. `importance`; one folder per kind.
            key: everything the content depends on, as plain JSON values.
            build: fills the empty folder it is given; whatever it raises leaves no entry.

        Returns:
            (folder, whether this call built it). Callers that come while another builds wait.
        """
        name = digest(key)
        folder = self.root / kind / name
        if _whole(folder):
            return folder, False
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if _whole(folder):
                return folder, False
            shutil.rmtree(folder, ignore_errors=True)
            remove_leftovers(folder)
            start = time.monotonic()
            with _sole_builder(folder) as found:
                if found:
                    return folder, False
                with building(folder) as part:
                    build(part)
                    write_json(part / "key.json", key)
                    write_json(part / SIZES, _sizes(part))
                    _put(part, folder)
            seconds = round(time.monotonic() - start, 3)
            row = {"kind": kind, "digest": name, "key": key, "seconds": seconds}
            with (self.root / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        return folder, True

    def find(self, kind: str, key: dict[str, Any]) -> Path | None:
        """The entry's folder if there is one."""
        folder = self.root / kind / digest(key)
        if _whole(folder):
            return folder
        if remote_of(folder) is None:
            return None
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            return folder if _whole(folder) or _fetch(folder) else None


@contextmanager
def _sole_builder(folder: Path) -> Iterator[bool]:
    """Nobody else builds the entry during the block; whether another machine has, and it is here.

    A builder that is not heard of for `LEASE_SECONDS` is taken for dead.
    """
    if (place := remote_of(folder)) is None:
        yield False
        return
    turns = folder.with_name(f".{folder.name}")
    seen, since = None, time.monotonic()
    while True:
        if _fetch(folder):
            yield True
            return
        before = latest(turns)
        if before != seen:
            seen, since = before, time.monotonic()
        free = before is None or before.alive() is False
        if free or time.monotonic() - since > leases.LEASE_SECONDS:
            mine = next_lease(turns, before)
            if mine is not None:
                break
        time.sleep(NAP_SECONDS)
    with Held(turns, mine, lambda: None, lambda why: None).kept():
        found = before is not None and _fetch(folder)  # whoever had the lease may have built it
        if not found and place.objects.listed(place.name):  # of an entry that is not whole
            place.objects.delete([f"{place.name}/{SIZES}"])
        yield found
    place.objects.delete(place.objects.listed(f"{place.name.rpartition('/')[0]}/{turns.name}"))


def _fetch(folder: Path) -> bool:
    """Whether the entry is here now, whole, from the object store."""
    if (place := remote_of(folder)) is None:
        return False
    try:
        sizes = json.loads(place.objects.read(f"{place.name}/{SIZES}"))
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        with building(folder) as part:
            for name in sizes:
                (part / name).parent.mkdir(parents=True, exist_ok=True)
            place.objects.get({f"{place.name}/{name}": part / name for name in (*sizes, SIZES)})
            if _sizes(part) != sizes:
                raise FileNotFoundError(f"{place.name} is not whole")
    except (FileNotFoundError, ValueError):
        return False
    return True


def _put(part: Path, folder: Path) -> None:
    """Put the files of a new entry into the object store, if there is one; last what makes it one.

    Of two machines that built the same, one of them given up for dead, the first one's stays.
    """
    if (place := remote_of(folder)) is None:
        return
    for name in sorted(_sizes(part)):
        place.objects.put(f"{place.name}/{name}", part / name)
    place.objects.create(f"{place.name}/{SIZES}", (part / SIZES).read_bytes())


def _whole(folder: Path) -> bool:
    """Whether the entry is there, its files as long as they were written."""
    try:
        written = json.loads((folder / SIZES).read_text(encoding="utf-8"))
        return bool(_sizes(folder) == written)
    except (FileNotFoundError, ValueError):
        return False


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != SIZES)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}
