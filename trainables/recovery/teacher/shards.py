"""One file of a sample store: the tensors of some samples, row after row, and whose rows they are.

A shard is a safetensors file. Each of its tensors holds one kind of value (say a hidden state) for
all of the shard's samples, concatenated in the first dimension. Its metadata names the content that
the store is for and, in order, every sample with its number of rows in each tensor; so a shard can
be read without any other file, and no sample costs a file of its own.

Shards are written beside their name, flushed, renamed into place, and never changed.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

PATTERN = "shard-*.safetensors"
_CONTENT, _SAMPLES, _ROWS = "content", "samples", "rows"  # keys of the metadata

Values = Mapping[str, Tensor]


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

    Args:
        path: of the new shard.
        content: digest of everything that its values depend on.
        samples: key and tensors of each; all have the same tensor names.
    """
    names = sorted(samples[0][1])
    rows = {name: [len(values[name]) for _, values in samples] for name in names}
    metadata = {
        _CONTENT: content,
        _SAMPLES: json.dumps([key for key, _ in samples]),
        _ROWS: json.dumps(rows),
    }
    tensors = {name: torch.cat([values[name] for _, values in samples]) for name in names}
    part = path.with_name(f"{path.name}.part")
    save_file(tensors, part, metadata)
    _flush(part)
    part.rename(path)
    _flush(path.parent)  # the name itself
    return path.stat().st_size


def open_shard(path: Path, content: str) -> Shard | None:
    """Map a shard into memory; None if it is damaged or was written for other content.

    Such a file is no error: what it should hold is missing, and is computed again.
    """
    try:
        with safe_open(path, framework="pt") as file:  # refuses a file of another length, too
            metadata = file.metadata() or {}
            if metadata.get(_CONTENT) != content:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            samples = tuple(json.loads(metadata[_SAMPLES]))
            rows = json.loads(metadata[_ROWS])
        starts = {name: (0, *itertools.accumulate(rows[name])) for name in tensors}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    for name, tensor in tensors.items():
        if len(starts[name]) != len(samples) + 1 or starts[name][-1] != len(tensor):
            return None
    return Shard(samples, tensors, starts)


def _flush(path: Path) -> None:
    """Wait until what was written to a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
