"""The image files of conversations: whether they are there, their sizes, their pixels; no torch."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any, TypeVar

from trainables.common.pictures import picture_size, read_picture
from trainables.recovery.data.rows import BrokenSampleError

T = TypeVar("T")


class ImageFolder:
    """The folder that image paths start from, and may not leave but for the `linked` ones.

    Each subfolder is listed once: asking for every file by itself takes minutes for some hundred
    thousand on a network disk.
    """

    def __init__(self, folder: Path, linked: Sequence[Path] = ()) -> None:
        self.folder = _real(folder)
        self._open = (self.folder, *map(_real, linked))
        self._is_link = functools.cache(self._list)

    def check(self, given: str, sample: str) -> None:
        """Make sure that the file is there and may be read, symbolic links followed.

        Raises:
            BrokenSampleError: it is not, or it lies in no open folder; names the sample.
        """
        parent, name = os.path.split(given)
        if self._is_link(parent).get(name) is False:
            return
        path = _real(self.folder / given)
        what = f"sample {sample!r}: image path {short(given)}"
        if not self._may_read(path):
            message = (
                f"{what} leaves the folder {self.folder} for {path}; where that is meant, name the "
                "folder it leads to in data.linked_folders"
            )
            raise BrokenSampleError("image outside its folder", sample, message)
        if not os.path.isfile(path):
            message = f"{what} does not exist in {self.folder}"
            raise BrokenSampleError("missing image", sample, message)

    def _may_read(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self._open)

    def _list(self, parent: str) -> dict[str, bool]:
        """Whether each file of a subfolder is a symbolic link; {} outside of the open folders."""
        path = _real(self.folder / parent)
        if not self._may_read(path):
            return {}
        try:
            with os.scandir(path) as found:
                return {e.name: e.is_symlink() for e in found if e.is_symlink() or e.is_file()}
        except OSError:  # no folder, or one that nobody may list
            return {}


def _real(path: Path) -> Path:
    """Links followed as far as they lead; of a loop of links the path itself, not an error."""
    return Path(os.path.realpath(path))


def open_image(path: Path, sample: str) -> Any:
    """What is seen of an image file, as RGB (see `pictures`).

    Raises:
        BrokenSampleError: the file is missing, truncated or no image; names the sample.
    """
    return _read(read_picture, path, sample)


def image_size(path: Path, sample: str) -> tuple[int, int]:
    """(width, height) of what is seen, from the head of the file; decodes no pixels.

    Raises:
        BrokenSampleError: the file is missing or no image; names the sample.
    """
    return _read(picture_size, path, sample)


def _read(read: Callable[[Path], T], path: Path, sample: str) -> T:
    try:
        return read(path)
    except FileNotFoundError:
        message = f"sample {sample!r}: image {path} does not exist"
        raise BrokenSampleError("missing image", sample, message) from None
    except ValueError as error:
        message = f"sample {sample!r}: image {path} is truncated or unreadable ({error})"
        raise BrokenSampleError("unreadable image", sample, message) from None
