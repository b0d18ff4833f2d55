"""The working copy of a storage that is an object store: a folder of this machine, and its twin.

Weights, tables and logs need files, so all code works on a folder in this machine's cache, and what
is written in one step (`files.replacing`) is put to the object store just before it gets its name
here: what stands here stands there. What is appended to, or written by a library, is put by
`put_rest` before the file that commits it. A file's object has its path below the storage, except
that of a trial only what the ledger reads lies in `trials/`, and the rest in `trial_files/`: a
listing of a thousand trials is as short as it can be.
"""

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trainables.common.cache import VARIABLE, cache
from trainables.common.objects import Entry, Objects, md5_of, objects_at
from trainables.records import (
    CHECKPOINT,
    CURVES,
    LOG,
    RECORD,
    REPORT,
    REPORT_SCORES,
    REQUEST,
    STAGE,
)
from trainables.specs import digest

STORAGES = "storages"
MARK = ".storage.json"  # at a copy's root: of which URL it is
TRIALS, TRIAL_FILES = "trials", "trial_files"
LEDGER = {REQUEST, RECORD, REPORT, REPORT_SCORES, STAGE}  # what lies in `trials/` of the store
ONCE = {RECORD, REPORT}  # never rewritten: of several writers the first one counts
GROWING = {LOG, CURVES}  # the longer one counts
# What processes of one machine tell each other: in a folder of a trial, or of a sweep.
OWN = {"attempt.json", "train", "tune", "scored", "lease"}
WEIGHTS = ".safetensors"
LARGE_BYTES = 32 * 2**20  # above it files of one size are taken for equal


class Place(NamedTuple):
    """A file or folder of a working copy: its storage, and its path below it."""

    objects: Objects
    root: Path
    name: str

    @property
    def object(self) -> str:
        """The name of its object."""
        sweep, *inner = self.name.split("/")
        if inner[:1] == [TRIALS] and len(inner) > 2 and "/".join(inner[2:]) not in LEDGER:
            return "/".join((sweep, TRIAL_FILES, *inner[1:]))
        return self.name

    @property
    def is_shared(self) -> bool:
        """Whether it is for all machines, as most in the folders of sweeps is."""
        parts = self.name.split("/")
        if len(parts) < 2 or parts[0] == "store" or any(part.startswith(".") for part in parts):
            return False
        return not any(part in OWN or part.startswith("shards-") for part in parts[1:])

    def at(self, name: str) -> "Place":
        """Another one of the same storage."""
        return self._replace(name=name)


def working_copy(url: str) -> Path:
    """This machine's folder for the storage at a URL; empty at first.

    Raises:
        ValueError: no URL of an object store, or its driver is missing.
        OSError: the folder cannot be made.
    """
    url = url.rstrip("/")
    objects_at(url)
    root = Path(_copies(), digest(url))
    if not (root / MARK).exists():
        root.mkdir(parents=True, exist_ok=True)
        (root / MARK).write_text(json.dumps({"url": url}), encoding="utf-8")
    return root


def url_of(folder: Path) -> str:
    """The URL of the storage that a folder is the copy of; empty for an ordinary folder."""
    place = remote_of(folder)
    return place.objects.url if place is not None and not place.name else ""


def remote_of(path: Path) -> Place | None:
    """Where a path of a working copy has its object; None for what is in no copy."""
    where, copies = str(path), _copies()
    if not where.startswith(copies):
        return None
    name, _, inner = where[len(copies) :].strip("/").partition("/")
    return Place(_objects_of(copies, name), Path(copies, name), inner) if name else None


def uri_of(path: Path) -> str:
    """Where others find a file or a trial's folder: its object's URL, or that of this machine."""
    place = remote_of(path)
    return path.absolute().as_uri() if place is None else f"{place.objects.url}/{place.object}"


def publish(part: Path, path: Path) -> None:
    """Put `part` under the name of `path`, which it is about to get, where others look for it.

    Raises:
        FileExistsError: a record that somebody else has published; it is at `path` now.
    """
    place = remote_of(path)
    if place is None or not place.is_shared:
        return
    if path.name not in ONCE:
        place.objects.put(place.object, part)
    elif not place.objects.create(place.object, part.read_bytes()):
        part.write_bytes(place.objects.read(place.object))
        os.replace(part, path)
        raise FileExistsError(f"{path} exists; a record is never rewritten")


def put_files(*paths: Path) -> None:
    """Put these files as they are; nothing where they are in no working copy."""
    for path in paths:
        if (place := remote_of(path)) is not None and path.exists():
            place.objects.put(place.object, path)


def touch(path: Path) -> None:
    """Leave an empty file for whatever machine looks with `is_there`; `remove` takes it away."""
    if (place := remote_of(path)) is None:
        path.touch()
    else:
        place.objects.put(place.object, b"")


def is_there(path: Path) -> bool:
    """Whether a file was left with `touch`, on whatever machine."""
    if (place := remote_of(path)) is None:
        return path.exists()
    return place.objects.has(place.object)


def put_rest(folder: Path) -> None:
    """Put what stands in a trial's folder and not, or not as it is, in the object store."""
    if (place := remote_of(folder)) is None:
        return
    there = _listed(place)
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(place.root))
        if path.is_file() and place.at(name).is_shared and _differs(path, there.get(name)):
            put_files(path)


def remove(*paths: Path) -> None:
    """Remove files here and in the object store; those that are not there are no error."""
    for path in paths:
        place = remote_of(path)
        if place is not None and place.is_shared:
            place.objects.delete([place.object])
        path.unlink(missing_ok=True)


def pull(folder: Path, *, rest: bool = True, checkpoint: bool = False) -> None:
    """Bring what a folder of the storage holds into this copy; nothing for an ordinary folder.

    What is the same here is not fetched again, and JSON files that are gone there go here too.

    Args:
        folder: of a sweep, or of a trial.
        rest: also what the ledger does without. Weights are fetched when they are asked for.
        checkpoint: also that of a trial.

    Raises:
        ObjectStoreError: it cannot be read.
    """
    if (place := remote_of(folder)) is None:
        return
    here = list(folder.rglob("*.json"))  # before the listing: what is here was there
    there = _listed(place, rest)
    wanted = {
        name: entry
        for name, entry in there.items()
        if place.at(name).is_shared
        and (rest or name.endswith(".json"))
        and (not name.endswith(WEIGHTS) or (checkpoint and name.endswith(f"/{CHECKPOINT}")))
    }
    _fetch(place, wanted, ended={n.rpartition("/")[0] for n in there if n.endswith(f"/{RECORD}")})
    for path in here:
        found = remote_of(path)
        if found and found.name not in there and found.is_shared:
            if path.name == REQUEST:  # the trial is gone
                shutil.rmtree(path.parent, ignore_errors=True)
            elif rest or found.object == found.name:
                path.unlink(missing_ok=True)


def fetched(path: Path) -> Path:
    """The same path, its file fetched if it is of a working copy and not here as it is there."""
    place = remote_of(path)
    if place is not None:
        found = _listed(place.at(place.name.rpartition("/")[0])).get(place.name)
        if found is not None:
            _fetch(place, {place.name: found})
    return path


def _listed(place: Place, rest: bool = True) -> dict[str, Entry]:
    """What the object store holds of a folder, by the name that it has in the copy."""
    objects, (sweep, *inner) = place.objects, place.name.split("/")
    if inner[:1] == [TRIALS] and inner[1:]:
        found = objects.listed(place.name)
        if rest:
            found |= objects.listed("/".join((sweep, TRIAL_FILES, *inner[1:])))
    elif inner or rest:
        found = objects.listed(place.name)
    else:
        found = objects.listed(sweep, deep=False) | objects.listed(f"{sweep}/{TRIALS}")
    cut = f"{sweep}/{TRIAL_FILES}/"
    return {
        f"{sweep}/{TRIALS}/{name.removeprefix(cut)}" if name.startswith(cut) else name: entry
        for name, entry in found.items()
    }


def _fetch(place: Place, wanted: Mapping[str, Entry], ended: Collection[str] = ()) -> None:
    """Get the files that differ, and move each to its name unless it has changed meanwhile.

    Of the folders of `ended` trials the sizes tell.
    """
    todo: dict[str, tuple[int, int] | None] = {}
    for name, entry in wanted.items():
        path = place.root / name
        before = _state(path)
        longer = path.name in GROWING and before is not None and before[0] > entry.size
        if not longer and _differs(path, entry, content=name.rpartition("/")[0] not in ended):
            todo[name] = before
    if not todo:
        return
    with tempfile.TemporaryDirectory(dir=place.root, prefix=".pull-") as scratch:
        parts = {name: Path(scratch, str(i)) for i, name in enumerate(todo)}
        try:
            place.objects.get({place.at(name).object: part for name, part in parts.items()})
        except FileNotFoundError:  # some have gone since they were listed, and ended the rest
            for name, part in parts.items():
                with suppress(FileNotFoundError):
                    part.unlink(missing_ok=True)
                    place.objects.get({place.at(name).object: part})
        for name, part in parts.items():
            if not part.exists():
                continue
            path = place.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if _state(path) == todo[name]:
                os.replace(part, path)


def _differs(path: Path, entry: Entry | None, content: bool = True) -> bool:
    """Whether a file is not what an object holds, whichever of the two is newer."""
    state = _state(path)
    if entry is None or state is None:
        return True
    if state[0] != entry.size:
        return True
    if path.name in ONCE or not content or entry.size > LARGE_BYTES:
        return False
    return entry.md5 != md5_of(path)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _copies() -> str:
    """Where the working copies lie, with a slash at its end."""
    return _copies_for(*(os.environ.get(name) for name in (VARIABLE, "XDG_CACHE_HOME", "HOME")))


@functools.lru_cache
def _copies_for(*_: str | None) -> str:
    return f"{cache().resolve() / STORAGES}/"


@functools.lru_cache
def _objects_of(copies: str, name: str) -> Objects:
    text = Path(copies, name, MARK).read_text(encoding="utf-8")
    return objects_at(json.loads(text)["url"])
