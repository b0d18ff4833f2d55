"""Records as JSON files, written in one step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)


def write_json(path: Path, value: BaseModel | dict[str, Any] | list[Any]) -> None:
    """Write `value` as JSON beside `path`, flush it to disk, then rename it into place."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(plain, file, indent=1, ensure_ascii=False, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_json(path: Path, model: type[M]) -> M:
    """Read a value of type `model` from `path`."""
    return model.model_validate_json(path.read_text(encoding="utf-8"))
