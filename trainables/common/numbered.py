"""Numbered files `000001.json`, ... that are created exclusively, so that the highest one counts.

What a lock or a claim is made of where no kernel can hold one: of several who create the next
number one succeeds. They lie in a folder, on a disk or a shared file system; those of a working
copy of an object store lie in the object store alone (see `copies`).
"""

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trainables.common.copies import Place, remote_of
from trainables.common.files import replace_file


@dataclass(frozen=True)
class Numbered:
    """The numbered files of one folder."""

    folder: Path

    def numbers(self) -> list[int]:
        """The highest one first."""
        if self._place is None:
            names = [path.name for path in self.folder.glob("[0-9]*.json")]
        else:
            found = self._place.objects.listed(self._place.name)
            names = [name.rpartition("/")[2] for name in found]
        return sorted((int(name.removesuffix(".json")) for name in names), reverse=True)

    def highest(self) -> int:
        """0 where there never was one."""
        return next(iter(self.numbers()), 0)

    def read(self, number: int) -> str:
        """The content; FileNotFoundError where there is no such file."""
        if self._place is None:
            return self._path(number).read_text(encoding="utf-8")
        return self._place.objects.read(self._object(self._place, number)).decode()

    def create(self, number: int, text: str) -> bool:
        """Whether the file is this caller's; False where somebody else was faster."""
        if self._place is not None:
            return self._place.objects.create(self._object(self._place, number), text.encode())
        self.folder.mkdir(exist_ok=True)
        try:
            with self._path(number).open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            return False
        return True

    def replace(self, number: int, text: str) -> None:
        """Write it anew."""
        if self._place is None:
            replace_file(self._path(number), text.encode())
        else:
            self._place.objects.put(self._object(self._place, number), text.encode())

    def delete(self, *numbers: int) -> None:
        """Remove those that are there."""
        if self._place is not None:
            self._place.objects.delete([self._object(self._place, n) for n in numbers])
            return
        for number in numbers:
            self._path(number).unlink(missing_ok=True)

    def age(self, number: int) -> float:
        """Seconds since it was written, roughly: clocks may differ. FileNotFoundError, OSError."""
        if self._place is None:
            return time.time() - self._path(number).stat().st_mtime
        return time.time() - self._place.objects.modified(self._object(self._place, number))

    @cached_property
    def _place(self) -> Place | None:
        return remote_of(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"

    def _object(self, place: Place, number: int) -> str:
        return f"{place.name}/{number:06d}.json"
