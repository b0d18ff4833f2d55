"""What a processor makes of an image file: the text that stands for it, and its tensors."""

import sys
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.common.names import first_line
from trainables.models.collation import Batch, encode
from trainables.models.families.adapter import VLMAdapter
from trainables.recovery.data.images import image_size, open_image
from trainables.recovery.data.rows import BrokenSampleError

ANY_SIZE = (64, 64)
Arrays = dict[str, np.ndarray]
KILLED = (
    "a process that decodes images was killed, which is mostly for want of memory; lower "
    "data.workers"
)


class ImageInputs:
    """Texts and tensors of image files.

    A text depends, in every family, on nothing but the image's size; only the processor knows it,
    dynamic tiles included. It is asked once per size, with a blank image: the tokens of a sample
    need the heads of its image files only, or not even that (`VLMAdapter.fixed_image_tokens`).

    Tensors are cached up to `cache_mib`, for later epochs. What does not fit any more is decoded
    again when it is shown again: an image that was dropped to make room would be gone before its
    next epoch all the same.

    `ahead` are images that worker processes decode right now (see `loader`), by file.
    """

    def __init__(self, processor: Any, adapter: VLMAdapter, cache_mib: int) -> None:
        self.processor, self.adapter = processor, adapter
        self.ahead: Mapping[Path, Future[Arrays]] = {}
        self._texts: dict[tuple[int, int], str] = {}  # by (width, height)
        self._tensors: dict[Path, Batch] = {}
        self._bytes_left = cache_mib * 2**20

    def text(self, path: Path, sample: str) -> str:
        """What is written for one image file.

        Raises:
            BrokenSampleError: the file is no image, or the processor refuses its size; names the
                sample.
        """
        size = ANY_SIZE if self.adapter.fixed_image_tokens else image_size(path, sample)
        if size not in self._texts:
            self._texts[size] = self._ask(size, sample)
        return self._texts[size]

    def _ask(self, size: tuple[int, int], sample: str) -> str:
        from PIL import Image

        try:
            told = self.processor(
                text=[self.processor.image_token],
                images=[[Image.new("RGB", size)]],
                return_text_replacement_offsets=True,
            )
        except ValueError as error:
            raise _refused(size, sample, error) from error
        # Many sizes become the same text, which is long.
        return sys.intern(told["text_replacement_offsets"][0][0]["replacement"])

    def forget(self) -> None:
        """Drop the tensors of all files, as one of them was replaced."""
        self._bytes_left += sum(_size(tensors) for tensors in self._tensors.values())
        self._tensors.clear()

    def __contains__(self, path: Path) -> bool:
        """Whether the tensors of a file are cached."""
        return path in self._tensors

    def tensors(self, path: Path, sample: str) -> Batch:
        """The tensors of one image.

        Raises:
            BrokenSampleError: the file is missing or no image; names the sample.
            RuntimeError: the worker process that decoded it was killed.
        """
        if path in self._tensors:
            return self._tensors[path]
        if path in self.ahead:
            try:
                arrays = self.ahead[path].result()
            except BrokenProcessPool:
                raise RuntimeError(KILLED) from None
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        else:
            tensors = decode(self.processor, self.adapter, path, sample)
        size = _size(tensors)
        if size <= self._bytes_left:
            self._bytes_left -= size
            self._tensors[path] = tensors
        return tensors


def _refused(size: tuple[int, int], sample: str, error: Exception) -> BrokenSampleError:
    return BrokenSampleError(
        "cannot be encoded",
        sample,
        f"sample {sample!r}: the processor refuses an image of {size[0]} x {size[1]} pixels "
        f"({first_line(error)}); leave the sample out",
    )


def _size(tensors: Batch) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def decode(processor: Any, adapter: VLMAdapter, path: Path, sample: str) -> Batch:
    """The tensors that the processor makes of one image file, dynamic tiles included.

    Raises:
        BrokenSampleError: the file is missing or no image; names the sample.
    """
    image = open_image(path, sample)
    try:
        _, tensors = encode(processor, adapter, processor.image_token, [image])
    except ValueError as error:
        raise _refused(image.size, sample, error) from error
    return tensors
