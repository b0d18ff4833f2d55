"""Files and folders that appear in one step: whole or not at all; files flushed to disk."""

import gc
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from trainables.common.copies import publish
from trainables.records.file_names import IF_DAMAGED
from trainables.records.versions import lifted

M = TypeVar("M", bound=BaseModel)


@contextmanager
def replacing(path: Path, gate: AbstractContextManager[None] | None = None) -> Iterator[Path]:
    """A new file beside `path` to write; on success it takes the place of `path`, else it goes.

    Its mode is the umask's, whatever the writer makes of it (safetensors: 0600). It goes
    there within `gate`, which may refuse by raising (see `attempts.owned`). In a working copy of an
    object store it goes to the store first (see `copies`).
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.touch()
        mode = part.stat().st_mode
        yield part
        with part.open("rb+") as file:
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        with gate or nullcontext():
            publish(part, path)
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def writing(what: str, folder: Path) -> Iterator[None]:
    """Says what could not be written and what to do, where the system only gives a number.

    Raises:
        ValueError: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{what} cannot be written to '{folder}' ({error.strerror or error}). Free some space "
            "or make the folder writable; no record is affected."
        ) from error


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`; on success it becomes `folder` (or replaces an empty one).

    The files in it get the modes that the umask gives, whoever wrote them.
    """
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.mkdir()
        mode = part.stat().st_mode & 0o666
        yield part
        for path in part.rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.chmod(mode)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed builders of `folder` left; whoever may build it holds its lock."""
    for leftover in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(leftover, ignore_errors=True)


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
    """Raise ValueError unless `to` is an empty folder, or a new name where one can be made."""
    around = next(path for path in (to.absolute(), *to.absolute().parents) if path.exists())
    if around != to.absolute() and not (around.is_dir() and os.access(around, os.W_OK)):
        raise ValueError(f"{to} cannot be made: {around} is no folder to write to; name another")
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise ValueError(
            f"{to} exists and is not an empty folder, and nothing is overwritten; name another"
        )


def replace_file(
    path: Path, content: bytes, gate: AbstractContextManager[None] | None = None
) -> None:
    """Write `content` to `path` in one step, within `gate`."""
    with replacing(path, gate) as part:
        part.write_bytes(content)


def write_json(
    path: Path,
    value: BaseModel | dict[str, Any] | list[Any],
    gate: AbstractContextManager[None] | None = None,
) -> None:
    """Write `value` as JSON to `path` in one step, within `gate`."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(path, text.encode(), gate)


class DamagedError(ValueError):
    """A file that we wrote cannot be read; the message says which, why, and what to do."""

    def __init__(self, path: str | Path, error: Exception) -> None:
        self.path = Path(path).absolute()
        remedy = IF_DAMAGED.get(self.path.name, "Move the file away")
        super().__init__(f"'{self.path}' cannot be read ({_why(error)}). {remedy}.")


def read_json(path: str | Path, model: type[M]) -> M:
    """Read a value of type `model` from `path`, whichever version wrote it (`records.versions`).

    Args:
        path: a string where there are thousands: a `Path` takes as long as the reading.
        model: the class of the value.

    Raises:
        FileNotFoundError, NotADirectoryError: there is none.
        DamagedError: it cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            return _validated(file.read(), model)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError) as error:
        raise DamagedError(path, error) from None


def _validated(content: bytes, model: type[M]) -> M:
    try:
        value = model.model_validate_json(content)
    except ValidationError as error:
        if any(each["type"] == "json_invalid" for each in error.errors(include_url=False)):
            raise
    else:
        if "record_version" not in model.model_fields or "record_version" in value.model_fields_set:
            return value
    return model.model_validate_json(json.dumps(lifted(model, json.loads(content))))


def read_if_sound(path: str | Path, model: type[M]) -> M | None:
    """The same; None where there is no file, and where it is damaged, which is said once."""
    try:
        return read_json(path, model)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except DamagedError as error:
        pass_over(error)
        return None


_passed_over = set[Path]()


def pass_over(damaged: DamagedError) -> None:
    """Warn of a file that is done without, once in this process; the command line prints it."""
    if damaged.path not in _passed_over:
        _passed_over.add(damaged.path)
        logging.getLogger("prunesweep").warning(str(damaged))


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first, *rest = error.errors(include_url=False)
        where = ".".join(map(str, first["loc"]))
        text = first["msg"].removeprefix("Value error, ")
        more = f", and {len(rest)} more" if rest else ""
        return f"{where}: {text}{more}" if where else text
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def reading_many() -> Iterator[None]:
    """Pauses Python's search for circles of objects, of which records hold none.

    It takes as long as the records' validation where thousands stay in memory.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
