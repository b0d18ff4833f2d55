"""The image tensors of files: decoded once while they are kept, or ahead of time by others."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.models.collation import Batch, encode
from trainables.models.families.adapter import VLMAdapter
from trainables.recovery.data.images import open_image

Arrays = dict[str, np.ndarray]
KILLED = (
    "a process that decodes images was killed, which is mostly for want of memory; lower "
    "data.workers"
)


class Pixels:
    """Image tensors by file; keeps the first `cache_mib` of them, for later epochs.

    What does not fit any more is decoded again when it is shown again: an image that was dropped to
    make room would be gone before its next epoch all the same.

    `ahead` are images that worker processes decode right now (see `loader`), by file.
    """

    def __init__(self, processor: Any, adapter: VLMAdapter, cache_mib: int) -> None:
        self.processor, self.adapter = processor, adapter
        self.ahead: Mapping[Path, Future[Arrays]] = {}
        self._kept: dict[Path, Batch] = {}
        self._bytes_left = cache_mib * 2**20

    def __contains__(self, path: Path) -> bool:
        return path in self._kept

    def tensors(self, path: Path, sample: str) -> Batch:
        """The tensors of one image.

        Raises:
            BrokenSampleError: the file is missing or no image; names the sample.
            RuntimeError: the worker process that decoded it was killed.
        """
        if path in self._kept:
            return self._kept[path]
        if path in self.ahead:
            try:
                arrays = self.ahead[path].result()
            except BrokenProcessPool:
                raise RuntimeError(KILLED) from None
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        else:
            tensors = decode(self.processor, self.adapter, path, sample)
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        if size <= self._bytes_left:
            self._bytes_left -= size
            self._kept[path] = tensors
        return tensors


def decode(processor: Any, adapter: VLMAdapter, path: Path, sample: str) -> Batch:
    """The tensors that the processor makes of one image file, dynamic tiles included.

    Raises:
        BrokenSampleError: the file is missing or no image; names the sample.
    """
    _, tensors = encode(processor, adapter, processor.image_token, [open_image(path, sample)])
    return tensors
