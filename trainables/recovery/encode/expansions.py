"""The text that an image becomes in a prompt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from trainables.models.families.adapter import VLMAdapter
from trainables.recovery.data.images import image_size
from trainables.recovery.data.rows import BrokenSampleError

ANY_SIZE = (64, 64)


class Expansions:
    """What a processor writes in place of an image, by the image's size.

    The processor alone knows, dynamic tiles included. For every family it depends on nothing but
    the image's size, so it is asked once per size, with a blank image: the tokens of a sample need
    the heads of its image files only, or not even that (`VLMAdapter.fixed_image_tokens`).
    """

    def __init__(self, processor: Any, adapter: VLMAdapter) -> None:
        self.processor, self.adapter = processor, adapter
        self._known: dict[tuple[int, int], str] = {}  # by (width, height)

    def text(self, path: Path, sample: str) -> str:
        """What is written for one image file.

        Raises:
            BrokenSampleError: the file is no image, or the processor refuses its size; names the
                sample.
        """
        size = ANY_SIZE if self.adapter.fixed_image_tokens else image_size(path, sample)
        if size not in self._known:
            self._known[size] = self._ask(size, sample)
        return self._known[size]

    def _ask(self, size: tuple[int, int], sample: str) -> str:
        from PIL import Image

        try:
            told = self.processor(
                text=[self.processor.image_token],
                images=[[Image.new("RGB", size)]],
                return_text_replacement_offsets=True,
            )
        except ValueError as error:
            raise BrokenSampleError(
                "cannot be encoded",
                sample,
                f"sample {sample!r}: the processor refuses an image of {size[0]} x {size[1]} "
                f"pixels ({error}); leave the sample out",
            ) from error
        # Many sizes become the same text, which is long.
        return sys.intern(told["text_replacement_offsets"][0][0]["replacement"])
