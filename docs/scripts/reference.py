"""Writes `docs/reference.md`: every setting of a sweep, from the specs themselves.

    python docs/scripts/reference.py     # or `make reference`

What a setting means stands in its spec's docstring, type and default in its field, the unit in its
name; nothing is written twice.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sweeps.engine.spec import SweepSpec

PAGE = Path(__file__).parents[1] / "reference.md"
UNITS = {
    "tokens": "tokens", "steps": "steps", "seconds": "s", "mib": "MiB", "gib": "GiB",
    "tflops": "TFLOPs", "limit": "samples", "epochs": "epochs",
    "ratio": "fraction", "share": "fraction", "workers": "workers", "bytes": "bytes",
}  # fmt: skip
HEAD = """# Reference of every setting

Made by `make reference` from the specs. A setting is changed by `--set NAME=VALUE` on the
command line, or in the sweep's file: `trial.recovery.budget.steps` is the field `steps` of
`Budget` in `RecoverySpec`.
"""


def meanings(spec: type[BaseModel]) -> dict[str, str]:
    """The `Attributes:` of a spec's docstring, one line each."""
    text = inspect.getdoc(spec) or ""
    _, _, rest = text.partition("Attributes:\n")
    found = {}
    for match in re.finditer(r"^    (\w+): (.*(?:\n        .*)*)", rest, re.MULTILINE):
        found[match[1]] = " ".join(match[2].split())
    return found


def inner(annotation: Any) -> list[type[BaseModel]]:
    """The specs within an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [spec for part in typing.get_args(annotation) for spec in inner(part)]


def in_words(annotation: Any) -> str:
    """A type as the command line means it."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is type(None):
        return "none"
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(in_words(part) for part in parts)
    if origin is typing.Annotated:
        return in_words(parts[0])
    if origin is tuple:
        return f"list of {in_words(parts[0])}"
    if origin is dict:
        return f"{in_words(parts[0])} -> {in_words(parts[1])}"
    names = {"str": "text", "bool": "`true`, `false`", "int": "integer", "float": "number"}
    name = getattr(annotation, "__name__", "any").replace("Any", "anything")
    return names.get(name, name)


def bounds(field: FieldInfo) -> str:
    """What a number may be, e.g. `, >= 1`."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    known = (annotated_types.Ge, annotated_types.Gt, annotated_types.Le, annotated_types.Lt)
    limits = [m for m in field.metadata if isinstance(m, known)]
    return "".join(
        f", {sign} {getattr(limit, name):g}"
        for limit in limits
        for name, sign in signs.items()
        if hasattr(limit, name)
    )


def default(field: FieldInfo) -> str:
    """The default as `--set` takes it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def unit(name: str) -> str:
    """The unit that a setting's name ends with."""
    return UNITS.get(name.rpartition("_")[2], "")


def sections(spec: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """(prefix of its settings, spec), depth first; a spec that stands twice is shown once."""
    yield prefix, spec
    for name, field in spec.model_fields.items():
        for part in inner(field.annotation):
            yield from sections(part, f"{prefix}{name}.")


def page() -> str:
    """The whole page."""
    lines, shown = [HEAD], set()
    for prefix, spec in sections(SweepSpec):
        if spec in shown:
            continue
        shown.add(spec)
        said = meanings(spec)
        missing = set(spec.model_fields) - set(said)
        if missing:
            raise ValueError(f"{spec.__name__}: no line in its docstring for {sorted(missing)}")
        first = (inspect.getdoc(spec) or "").splitlines()[0]
        lines += [f"## {prefix.rstrip('.') or 'A sweep'}", "", f"`{spec.__name__}`: {first}", ""]
        lines += ["| setting | type | default | unit | meaning |", f"|{' --- |' * 5}"]
        for name, field in spec.model_fields.items():
            row = (
                f"`{prefix}{name}`",
                in_words(field.annotation) + bounds(field),
                default(field),
                unit(name),
                said[name],
            )
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
