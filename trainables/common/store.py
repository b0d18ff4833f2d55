"""A content-addressed store: what does not depend on the ratio is computed once and shared.

An entry is a folder named by the digest of its key. It is built beside and renamed into place under
a lock per entry, so two trials that need the same key compute it once, and a killed builder leaves
nothing that could be taken for a result. Entries are never changed; one whose files are not as
long as they were written, as after a copy that broke off, is built again.
"""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from trainables.common.files import building, write_json
from trainables.specs import digest

SIZES = "sizes.json"  # of an entry's files, in bytes
LOG = "built.jsonl"  # a row per entry ever built: `kind`, `digest`, `key`, `seconds`


class Store:
    """Entries below one folder on a local disk or a shared file system (NFS and the like)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get_or_create(
        self, kind: str, key: dict[str, Any], build: Callable[[Path], None]
    ) -> tuple[Path, bool]:
        """Return the entry's folder, building it if nobody has.

        Args:
            kind: what the entry is, e.g. `importance`; one folder per kind.
            key: everything the content depends on, as plain JSON values.
            build: fills the empty folder it is given; whatever it raises leaves no entry.

        Returns:
            (folder, whether this call built it). Callers that come while another builds wait.
        """
        name = digest(key)
        folder = self.root / kind / name
        if _whole(folder):
            return folder, False
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if _whole(folder):
                return folder, False
            shutil.rmtree(folder, ignore_errors=True)
            for leftover in folder.parent.glob(f".{name}.*.part"):
                shutil.rmtree(leftover, ignore_errors=True)
            start = time.monotonic()
            with building(folder) as part:
                build(part)
                write_json(part / "key.json", key)
                write_json(part / SIZES, _sizes(part))
            seconds = round(time.monotonic() - start, 3)
            row = {"kind": kind, "digest": name, "key": key, "seconds": seconds}
            with (self.root / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        return folder, True

    def find(self, kind: str, key: dict[str, Any]) -> Path | None:
        """The entry's folder if there is one."""
        folder = self.root / kind / digest(key)
        return folder if _whole(folder) else None


def _whole(folder: Path) -> bool:
    """Whether the entry is there, its files as long as they were written."""
    try:
        written = json.loads((folder / SIZES).read_text(encoding="utf-8"))
        return bool(_sizes(folder) == written)
    except (FileNotFoundError, ValueError):
        return False


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != SIZES)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}
