"""Finding a sweep by name or path, and changing it with `--set key.sub=value`."""

import runpy
import traceback
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sweeps.engine.spec import SweepSpec
from trainables.common.names import unknown

SWEEPS_FOLDER = Path(__file__).parents[2]
WORDS = ("on", "off", "yes", "no")  # booleans to YAML 1.1, settings to us


class BadInputError(ValueError):
    """What the user gave cannot work; the message says what, the rule and the way out."""


def shipped_sweeps() -> dict[str, Path]:
    """The sweep files of the `sweeps/` folder by name."""
    files = sorted(SWEEPS_FOLDER.glob("*.py"))
    return {file.stem: file for file in files if not file.stem.startswith("_")}


def load_sweep(name_or_path: str, overrides: Sequence[str] = ()) -> SweepSpec:
    """The sweep of that name (in `sweeps/`) or path (a Python file that defines `sweep`).

    Raises:
        BadInputError: unknown name, a file that does not run, or an override that does not fit.
    """
    path = _find(name_or_path)
    sweep = run_file(path).get("sweep")
    if not isinstance(sweep, SweepSpec):
        raise BadInputError(f"{path} defines no `sweep`; it must hold `sweep = SweepSpec(...)`")
    return apply_overrides(sweep, overrides)


def apply_overrides(sweep: SweepSpec, overrides: Sequence[str]) -> SweepSpec:
    """A changed copy of `sweep`: each override is `key.sub=value` with a YAML value.

    Raises:
        BadInputError: an unknown key (the valid ones are listed) or a value out of range.
    """
    values = sweep.model_dump(mode="python")
    for override in overrides:
        key, found, text = override.partition("=")
        if not found:
            raise BadInputError(f"--set {override!r} has no '='; write --set key.sub=value")
        _set(values, key.strip().split("."), _parse_value(text))
    try:
        return SweepSpec.model_validate(values)
    except ValidationError as error:
        raise BadInputError(_explain(error)) from None


def _find(name_or_path: str) -> Path:
    shipped = shipped_sweeps()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if path.suffix == ".py":
        if path.is_file():
            return path
        raise BadInputError(f"the sweep file {name_or_path} does not exist")
    raise BadInputError(
        unknown("sweep", name_or_path, shipped) + " Or give the path of a Python file."
    )


def run_file(path: Path) -> dict[str, Any]:
    """What a Python file of the user's defines.

    Raises:
        BadInputError: it does not run; names the line.
    """
    try:
        whole = str(path.absolute())  # so that the file may find its neighbours by `__file__`
        return runpy.run_path(whole, run_name=f"_sweep_{path.stem}")
    except SyntaxError as error:
        raise BadInputError(f"{path}, line {error.lineno}: {error.msg}") from None
    except ValidationError as error:
        raise BadInputError(f"{path}{_line_in(error, path)}: {_explain(error)}") from None
    except Exception as error:
        line = _line_in(error, path)
        raise BadInputError(f"{path}{line}: {type(error).__name__}: {error}") from None


def _line_in(error: BaseException, path: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename) == path.absolute()]
    return f", line {lines[-1]}" if lines else ""


def _parse_value(text: str) -> Any:
    if text in WORDS:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _set(values: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Assign into the values of a dumped sweep, checking every key against its specs on the way."""
    path = ".".join(keys)
    model: type[BaseModel] | None = SweepSpec  # whose values these are; None for a mapping's
    for depth, key in enumerate(keys):
        outer, is_last = keys[:depth], depth == len(keys) - 1
        if not isinstance(values, dict):
            raise BadInputError(f"{'.'.join(outer)} is a single value, so {path} is nothing")
        known = model.model_fields if model else values
        if key not in known and (model or not is_last):
            valid = [".".join((*outer, name)) for name in known]
            raise BadInputError(unknown("setting", path, valid))
        if is_last:
            break
        model = _model_of(model.model_fields[key].annotation) if model else None
        if values.get(key) is None:
            if model is None:
                raise BadInputError(f"{'.'.join((*outer, key))} is not set in this sweep")
            values[key] = {}
        values = values[key]
    if list(keys[-3:-1]) == ["recovery", "budget"]:  # the four budgets exclude each other
        values.clear()
    values[keys[-1]] = value


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds when it is set, e.g. `SizeTarget` of `SizeTarget | None`."""
    for choice in typing.get_args(annotation) or (annotation,):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice
    return None


def _explain(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        where = ".".join(str(p) for p in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        given = item.get("input")
        if item["type"] in ("tuple_type", "list_type"):
            message = f"it is a list; write [{given}], with commas between several"
        shown = f"={given!r}" if isinstance(given, str | int | float | bool) else ""
        parts.append(f"{where}{shown}: {message}" if where else message)
    return "; ".join(parts)
