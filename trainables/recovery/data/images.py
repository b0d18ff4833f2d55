"""The image files of conversations: whether they are there, their sizes, their pixels; no torch."""

import functools
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainables.recovery.data.rows import BrokenSampleError

# What PIL's readers raise for damaged files, whatever it may mean.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)


class ImageFolder:
    """The folder that image paths start from, and may not leave.

    Each subfolder is listed once: asking for every file by itself takes minutes for some hundred
    thousand on a network disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._is_link = functools.cache(self._list)

    def check(self, given: str, sample: str) -> None:
        """Make sure that the file is there and inside the folder, symbolic links followed.

        Raises:
            BrokenSampleError: it is not; names the sample.
        """
        parent, name = os.path.split(given)
        is_link = self._is_link(parent).get(name)
        if is_link is False:
            return
        path = (self.folder / given).resolve()
        if not path.is_relative_to(self.folder):
            message = f"sample {sample!r}: image path {given!r} leaves the folder {self.folder}"
            raise BrokenSampleError("image outside its folder", sample, message)
        if is_link is None or not path.is_file():
            message = f"sample {sample!r}: image {given!r} does not exist in {self.folder}"
            raise BrokenSampleError("missing image", sample, message)

    def _list(self, parent: str) -> dict[str, bool]:
        """Whether each file of a subfolder is a symbolic link; {} outside of the folder."""
        path = (self.folder / parent).resolve()
        if not path.is_relative_to(self.folder) or not path.is_dir():
            return {}
        with os.scandir(path) as found:
            return {e.name: e.is_symlink() for e in found if not e.is_dir(follow_symlinks=False)}


def open_image(path: Path, sample: str) -> Any:
    """Decode an image to RGB.

    Raises:
        BrokenSampleError: the file is missing, truncated or no image; names the sample.
    """
    with _opened(path, sample) as image:
        return image.convert("RGB")


def image_size(path: Path, sample: str) -> tuple[int, int]:
    """(width, height) of an image, from the head of its file; decodes no pixels.

    Raises:
        BrokenSampleError: the file is missing or no image; names the sample.
    """
    with _opened(path, sample) as image:
        width, height = image.size
        return width, height


@contextmanager
def _opened(path: Path, sample: str) -> Iterator[Any]:
    from PIL import Image, ImageFile

    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        message = f"sample {sample!r}: image {path} does not exist"
        raise BrokenSampleError("missing image", sample, message) from None
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        message = f"sample {sample!r}: image {path} is truncated or unreadable ({error})"
        raise BrokenSampleError("unreadable image", sample, message) from None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient  # lmms-eval switches it on for the whole process
