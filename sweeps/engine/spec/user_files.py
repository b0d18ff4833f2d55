"""Python files of the user's: running one beside its neighbours, and the functions in it."""

import functools
import re
import runpy
import sys
import traceback
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from trainables.common.names import nearest
from trainables.specs import Frozen

FUNCTION_IN_FILE = re.compile(r".+\.py:[^\W\d]\w*")
CHOICE = re.compile(r"constrained-\w+|literal\[.*\]")  # pydantic's names for those of a union
OURS = ("analysis", "search_spaces", "sweeps", "trainables")
_NEIGHBOURS: dict[Path, dict[str, ModuleType]] = {}


class BadInputError(ValueError):
    """What the user gave cannot work; the message says what, the rule and the way out."""


def run_file(path: Path) -> dict[str, Any]:
    """What a Python file of the user's defines; it may import its neighbours.

    Raises:
        BadInputError: it does not run, or a neighbour does not; names the line.
    """
    whole = path.absolute()  # so that the file may find its neighbours by `__file__`, too
    try:
        with neighbours(whole.parent):
            return runpy.run_path(str(whole), run_name=f"_sweep_{path.stem}")
    except SyntaxError as error:
        file = path if error.filename == str(whole) else error.filename
        raise BadInputError(f"{file}, line {error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        raise BadInputError(f"{path}{place_in(error, path)}: {said(error, path)}") from None


@contextmanager
def neighbours(folder: Path) -> Iterator[None]:
    """Let code of the user's import what lies beside it, as Python does for a script.

    Outside nobody sees these modules, so two folders may have some of one name. No bytecode is
    written: it would hide a change within the second that leaves the size of the file as it was.
    """
    own, before = _NEIGHBOURS.setdefault(folder, {}), set(sys.modules)
    writes_none, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.modules.update(own)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_none
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            top = name.partition(".")[0]
            beside = (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file()
            file = getattr(sys.modules[name], "__file__", None)
            if beside and top not in OURS and file and Path(file).is_relative_to(folder):
                own[name] = sys.modules.pop(name)


def user_function(setting: str, name: str, form: str) -> Callable[..., Any]:
    """The function of `file.py:function`; the file is run once, until `forget_files`.

    Args:
        setting: what it stands for, e.g. `sampler`.
        name: file and function.
        form: what the file must hold, e.g. "`def f(seed):` that returns a sampler", with `f` for
            the function's name.

    Raises:
        BadInputError: there is no such file or function, or the file does not run.
    """
    path, _, wanted = name.rpartition(":")
    if not Path(path).is_file():
        raise BadInputError(
            f"{setting}={name!r}: there is no file {path} in {Path.cwd()}; give its whole path"
        )
    defined = _defined(str(Path(path).absolute()))
    found = defined.get(wanted)
    if not callable(found):
        functions = [n for n, v in defined.items() if callable(v) and not n.startswith("_")]
        raise BadInputError(
            f"{setting}={name!r}: {path} defines no function {wanted}{nearest(wanted, functions)}; "
            f"it must hold {form.replace('def f(', f'def {wanted}(')}"
        )
    function: Callable[..., Any] = found
    return function


@functools.cache
def _defined(path: str) -> dict[str, Any]:
    return run_file(Path(path))


def forget_files() -> None:
    """From here on the user's files are read as they are now."""
    _defined.cache_clear()
    _NEIGHBOURS.clear()


def place_in(error: BaseException, path: Path) -> str:
    """`, line 3` of the file, and of its neighbour where that is what failed; empty elsewhere."""
    whole, folder = path.absolute(), path.absolute().parent
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename) == whole]
    beside = [f for f in frames if Path(f.filename).parent == folder and f.filename != str(whole)]
    place = f", line {lines[-1]}" if lines else ""
    if beside:
        place += f" ({Path(beside[-1].filename).name}, line {beside[-1].lineno})"
    return place


def said(error: BaseException, path: Path) -> str:
    """What an error of the user's file says, in one line; names the nearest neighbour."""
    if isinstance(error, ValidationError):
        return explain(error)
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        beside = sorted(file.stem for file in path.absolute().parent.glob("*.py"))
        text += nearest(error.name, beside)
    return text


def explain(error: ValidationError) -> str:
    """Which setting has which value, and what it must be, in one line."""
    parts: dict[str, list[str]] = {}  # by setting and value: what it may be, or may be instead
    for item in error.errors():
        where = ".".join(str(p) for p in item["loc"] if not CHOICE.fullmatch(str(p)))
        message = item["msg"].removeprefix("Value error, ")
        given = item.get("input")
        if item["type"] == "extra_forbidden":
            fields = _fields_of(error.title, item["loc"][:-1])
            parts[f"{where!r} is no setting{nearest(str(item['loc'][-1]), fields)}"] = [""]
            continue
        if item["type"] in ("tuple_type", "list_type"):
            message = f"it is a list; write [{given}], with commas between several"
        shown = f"={given!r}" if isinstance(given, str | int | float | bool) else ""
        parts.setdefault(f"{where}{shown}: " if where else "", []).append(message)
    return "; ".join(start + ", or ".join(messages) for start, messages in parts.items())


def _fields_of(title: str, outer: Sequence[int | str]) -> Sequence[str]:
    """The fields of a part of one of our models, by the model's name; none where it is unknown."""
    models, open_ = dict[str, type[BaseModel]](), [Frozen]
    while open_:
        model = open_.pop()
        models[model.__name__] = model
        open_ += model.__subclasses__()
    found = models.get(title)
    for key in outer:
        field = found.model_fields.get(str(key)) if found else None
        found = model_in(field.annotation) if field else None
    return list(found.model_fields) if found else []


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds when it is set, e.g. `SizeTarget` of `SizeTarget | None`."""
    for choice in typing.get_args(annotation) or (annotation,):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice
    return None
