"""Tensors of samples on disk, computed once: what a frozen model answers to each sample.

A store is a folder named by the digest of its *content key*, which says everything that the values
depend on except the sample itself. A sample is named by a key of its own content, not by its place
in a file: nested fractions, other seeds and files that have grown find each other's samples.

Samples are appended in shards (see `shards`) by one writer at a time; others read meanwhile, or
wait if they need to write. What a killed writer had not finished is missing, and the next writer
goes on with it. Shards that are damaged or speak of other content are passed over.

100,000 samples of 750 tokens of a 7B model are 600 GB in some 2,300 shards; their index takes
about 30 MB of memory (measured), and no read opens a file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from trainables.common.files import write_json
from trainables.recovery.teacher.cache_progress import NoRoomError
from trainables.recovery.teacher.shards import PATTERN, Shard, Values, open_shard, write_shard
from trainables.specs import digest

KEY = "key.json"
# A killed writer loses one shard at most: so many bytes, or so many seconds of work.
SHARD_BYTES = 256 * 2**20
SHARD_SECONDS = 60.0


class SampleStore:
    """The store of one content key below `root`; opening it reads the shards' headers only."""

    def __init__(self, root: Path, kind: str, key: dict[str, Any]) -> None:
        """Open the store, which may not exist yet.

        Args:
            root: the store's folder (`Store.root`).
            kind: what is stored, e.g. `teacher`; one folder per kind.
            key: everything that the values depend on, as plain JSON values.
        """
        self.key = key
        self.folder = root / kind / digest(key)
        self.content = digest(key, 64)
        self._shards: dict[str, Shard | None] = {}  # by file name; None is passed over
        self._where: dict[str, tuple[Shard, int]] = {}
        self.refresh()

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._where)

    def __contains__(self, sample: str) -> bool:
        """Whether the sample is there, as far as was known at the last `refresh`."""
        return sample in self._where

    @property
    def nbytes(self) -> int:
        """Bytes on the disk."""
        return sum(path.stat().st_size for path in self.folder.glob(PATTERN))

    def missing(self, samples: Iterable[str]) -> list[str]:
        """Those of the samples that are not there, each once, in order."""
        return [s for s in dict.fromkeys(samples) if s not in self._where]

    def read(self, sample: str) -> dict[str, Tensor]:
        """The tensors of a sample, as views of mapped files; not to be changed.

        Raises:
            KeyError: the sample is not there.
        """
        shard, position = self._where[sample]
        return shard.read(position)

    def refresh(self) -> None:
        """Learn of the shards that others have written."""
        for path in sorted(self.folder.glob(PATTERN)):
            if path.name in self._shards:
                continue
            shard = self._shards[path.name] = open_shard(path, self.content)
            if shard is not None:
                places = ((shard, position) for position in range(len(shard.samples)))
                self._where |= dict(zip(shard.samples, places, strict=True))

    @contextmanager
    def writing(self, max_bytes: int) -> Iterator[Writer]:
        """Hold the store's lock and append samples; waits while another process holds it.

        Ask for `missing` again inside: the other process may have written all of it. What was added
        before an exception is kept.

        Args:
            max_bytes: the store's files may not grow beyond this.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder):
            for leftover in self.folder.glob("*.part"):
                leftover.unlink()
            if _stored_key(self.folder) != self.key:
                write_json(self.folder / KEY, self.key)
            self.refresh()
            writer = Writer(self, max_bytes)
            try:
                yield writer
            finally:
                writer.flush()

    def next_shard(self) -> Path:
        """A name that no shard has, damaged ones included."""
        taken = [int(path.stem.partition("-")[2]) for path in self.folder.glob(PATTERN)]
        return self.folder / f"shard-{max(taken, default=-1) + 1:05d}.safetensors"


class Writer:
    """Appends samples to a store whose lock it holds."""

    def __init__(self, store: SampleStore, max_bytes: int) -> None:
        self._store = store
        self._left = max_bytes - store.nbytes
        self._pending: list[tuple[str, Values]] = []
        self._bytes = 0
        self._since = time.monotonic()

    def add(self, sample: str, values: Values) -> None:
        """Append a sample's tensors (CPU), written when a shard is full.

        Raises:
            NoRoomError: the store would outgrow its limit.
        """
        size = sum(value.numel() * value.element_size() for value in values.values())
        if self._bytes + size > self._left:
            raise NoRoomError(
                f"{self._store.folder.name} already holds {self._store.nbytes / 2**30:.2f} GiB and "
                "the next sample would take it over its limit; raise the limit, or keep less"
            )
        self._pending.append((sample, values))
        self._bytes += size
        full = self._bytes >= SHARD_BYTES or time.monotonic() - self._since > SHARD_SECONDS
        if full:
            self.flush()

    def flush(self) -> None:
        """Write what is pending; others see it from now on."""
        if self._pending:
            size = write_shard(self._store.next_shard(), self._store.content, self._pending)
            self._left -= size
            self._pending, self._bytes = [], 0
            self._store.refresh()
        self._since = time.monotonic()


def stored_keys(root: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Content keys of the stores of a kind; a folder whose key does not give its name is none."""
    for path in sorted((root / kind).glob(f"*/{KEY}")):
        key = _stored_key(path.parent)
        if isinstance(key, dict) and digest(key) == path.parent.name:
            yield key


def _stored_key(folder: Path) -> Any:
    try:
        return json.loads((folder / KEY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder.parent.name}: waiting for another process that writes it", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
