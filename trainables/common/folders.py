"""New folders that appear whole or not at all, and the licence files that travel along."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.common.files import building

_LICENCES = ("LICENSE", "LICENCE", "NOTICE")


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """A folder beside `to` that takes its place on success and vanishes on failure.

    Raises:
        ValueError: if `to` is taken or cannot be written.
    """
    check_free(to)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with building(to) as part:
            yield part
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{to} cannot be written: {reason}") from error


def check_free(to: Path) -> None:
    """Raise ValueError unless `to` is a new name or an empty folder."""
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise ValueError(
            f"{to} exists and is not an empty folder, and nothing is overwritten; name another"
        )


def copy_licences(folder: Path, to: Path) -> list[str]:
    """Names of a checkpoint's licence and notice files, copied."""
    names = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.upper().startswith(_LICENCES):
            shutil.copyfile(path, to / path.name)
            names.append(path.name)
    return names


def declared_licence(folder: Path) -> str:
    """The licence that a checkpoint's model card declares, else `unknown`."""
    card = folder / "README.md"
    if card.is_file():
        head = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8"), re.DOTALL)
        found = re.search(r"^license:\s*(\S+)\s*$", head[1], re.MULTILINE) if head else None
        if found:
            return found[1]
    return "unknown"
