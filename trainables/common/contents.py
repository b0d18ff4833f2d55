"""What files hold, told apart by content: never by their names, their places or their times."""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from trainables.specs import digest

# Where a checkpoint came from, which nothing is computed with.
_IDLE = {"_name_or_path", "name_or_path", "_commit_hash"}
CODE = Path(__file__).parents[1]


def file_digest(path: Path) -> str:
    """Hex SHA-256 of a file.

    It is read once per process while its size and times stay what they are. The time of the last
    change of the *inode* is among them, which no copying or unpacking sets back.

    Raises:
        OSError: it cannot be read.
    """
    return _file_digest(*_facts(path))


def json_digest(path: Path) -> str:
    """Hex SHA-256 of what a JSON file says; of its bytes where it is no JSON.

    The order of keys, white space and where a checkpoint came from (`_name_or_path`) make no
    difference.

    Raises:
        OSError: it cannot be read.
    """
    return _json_digest(*_facts(path))


@functools.cache
def code_digest(root: Path = CODE) -> str:
    """Hex SHA-256 of Python code, by default all that a trial runs of ours.

    A version would not tell one checkout from another.
    """
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


def _facts(path: Path) -> tuple[str, int, int, int]:
    found = path.stat()
    return str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns


@functools.lru_cache(maxsize=2**20)
def _file_digest(path: str, *_: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.lru_cache(maxsize=256)
def _json_digest(path: str, *facts: int) -> str:
    try:
        return digest(_working(json.loads(Path(path).read_text(encoding="utf-8"))), length=64)
    except ValueError:
        return _file_digest(path, *facts)


def _working(value: Any) -> Any:
    """JSON data without what nothing is computed with."""
    if isinstance(value, dict):
        return {key: _working(item) for key, item in value.items() if key not in _IDLE}
    return [_working(item) for item in value] if isinstance(value, list) else value
