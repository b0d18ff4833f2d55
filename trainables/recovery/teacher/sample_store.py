"""Tensors of samples on disk, computed once: what the teacher answers to each sample.

A store is a folder named by the digest of its *content key*, which says everything that the values
depend on except the sample itself. A sample is named by a key of its own content, not by its place
in a file: nested fractions, other seeds and files that have grown find each other's samples.

Samples are appended in shards by one writer at a time; others read meanwhile, or wait if they need
to write. A shard is a safetensors file, never changed, each of whose tensors holds one kind of
value (say a hidden state) of all its samples, concatenated in the first dimension; its metadata
names the content that it is for and, in order, every sample with its rows in each tensor. What a
killed writer had not finished is missing, and the next writer goes on with it. Shards that are
damaged or speak of other content are passed over.

100,000 samples of 750 tokens of a 7B model are 600 GB in some 2,300 shards; their index takes
about 30 MB of memory (measured), and no read opens a file.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainables.common.files import replacing, write_json
from trainables.specs import digest

KEY = "key.json"
PATTERN = "shard-*.safetensors"
# A killed writer loses one shard at most: so many bytes, or so many seconds of work.
SHARD_BYTES = 256 * 2**20
SHARD_SECONDS = 60.0

Values = Mapping[str, Tensor]


class NoRoomError(ValueError):
    """A cache has no room within its limit or on the disk; the message says sizes and way out."""


@dataclass(frozen=True, eq=False)
class Shard:
    """An opened shard.

    Attributes:
        samples: keys of its samples, in order.
        tensors: the whole tensors, mapped into memory: their pages are read when they are touched.
        starts: per tensor, the first row of each sample, and the number of rows at the end.
    """

    samples: tuple[str, ...]
    tensors: dict[str, Tensor]
    starts: dict[str, tuple[int, ...]]

    def read(self, position: int) -> dict[str, Tensor]:
        """The rows of the sample at that position, as views of the mapped file."""
        return {
            name: tensor[self.starts[name][position] : self.starts[name][position + 1]]
            for name, tensor in self.tensors.items()
        }


def write_shard(path: Path, content: str, samples: Sequence[tuple[str, Values]]) -> int:
    """Write the samples to `path`, all at once or not at all; returns the file's size in bytes.

    Samples are pairs of key and tensors; all have the same tensor names.
    """
    names = sorted(samples[0][1])
    rows = {name: [len(values[name]) for _, values in samples] for name in names}
    keys = [key for key, _ in samples]
    metadata = {"content": content, "samples": json.dumps(keys), "rows": json.dumps(rows)}
    tensors = {name: torch.cat([values[name] for _, values in samples]) for name in names}
    with replacing(path) as part:
        save_file(tensors, part, metadata)
    return path.stat().st_size


def open_shard(path: Path, content: str) -> Shard | None:
    """Map a shard into memory; None if it is damaged or was written for other content.

    Such a file is no error: what it should hold is missing, and is computed again.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("content") != content:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        samples = tuple(json.loads(metadata["samples"]))
        rows = json.loads(metadata["rows"])
        starts = {name: (0, *itertools.accumulate(rows[name])) for name in tensors}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    for name, tensor in tensors.items():
        if len(starts[name]) != len(samples) + 1 or starts[name][-1] != len(tensor):
            return None
    return Shard(samples, tensors, starts)


class SampleStore:
    """The store of one content key below `root`; opening it reads the shards' headers only."""

    def __init__(self, root: Path, kind: str, key: dict[str, Any]) -> None:
        """Open the store, which may not exist yet.

        `kind` is a folder below `root`, e.g. `teacher`; `key` is everything that the values depend
        on, as plain JSON values.
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
                self._where |= {name: (shard, at) for at, name in enumerate(shard.samples)}

    @contextmanager
    def writing(self, max_bytes: int) -> Iterator[Writer]:
        """Hold the store's lock and append samples, up to `max_bytes` of files in all.

        Waits while another process holds the lock. Ask for `missing` again inside: the other
        process may have written all of it. What was added before an exception is kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder.with_suffix(".lock"))
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            name = self.folder.parent.name
            print(f"{name}: waiting for another process that writes it", flush=True)
            held = lock.acquire()
        with held:
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
        size = sum(value.nbytes for value in values.values())
        if self._bytes + size > self._left:
            raise NoRoomError(
                f"{self._store.folder.name} already holds {self._store.nbytes / 2**30:.2f} GiB and "
                "the next sample would take it over its limit; raise the limit, or keep less"
            )
        self._pending.append((sample, values))
        self._bytes += size
        if self._bytes >= SHARD_BYTES or time.monotonic() - self._since > SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is pending; others see it from now on."""
        if self._pending:
            folder = self._store.folder
            taken = [int(path.stem.partition("-")[2]) for path in folder.glob(PATTERN)]
            path = folder / f"shard-{max(taken, default=-1) + 1:05d}.safetensors"
            self._left -= write_shard(path, self._store.content, self._pending)
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
