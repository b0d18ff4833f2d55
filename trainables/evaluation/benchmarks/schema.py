"""What a copy's columns hold, and in which way they differ from what the task's code reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

from trainables.evaluation.benchmarks.benchmark import Kind


def column_faults(schema: pa.Schema, columns: Mapping[str, Kind]) -> list[str]:
    """One phrase for each column that is missing or holds something else."""
    faults = []
    for name, kind in columns.items():
        if name not in schema.names:
            faults.append(f"{name!r} is missing")
        elif not holds(schema.field(name).type, kind):
            faults.append(f"{name!r} holds {schema.field(name).type}, not {_WORDS[kind]}")
    return faults


def holds(arrow: pa.DataType, kind: Kind) -> bool:
    """Whether a column of that Arrow type can hold `kind`."""
    text = bool(pa.types.is_string(arrow) or pa.types.is_large_string(arrow))
    integer = bool(pa.types.is_integer(arrow))
    struct = bool(pa.types.is_struct(arrow))
    match kind:
        case "text":
            return text
        case "label":
            return text or integer
        case "integer":
            return integer
        case "number":
            return integer or bool(pa.types.is_floating(arrow))
        case "texts":
            listed = bool(pa.types.is_list(arrow) or pa.types.is_large_list(arrow))
            return listed and holds(arrow.value_type, "text")
        case "image":
            return struct and {"bytes", "path"} <= set(_names(arrow))
        case "record":
            return struct and not holds(arrow, "image")


def described(schema: pa.Schema, names: Iterable[str]) -> dict[str, str]:
    """The Arrow type of each of these columns, in words."""
    return {name: str(schema.field(name).type) for name in names}


def _names(struct: pa.DataType) -> list[str]:
    return [struct.field(i).name for i in range(struct.num_fields)]


_WORDS: dict[Kind, str] = {
    "text": "text",
    "label": "text or integers",
    "integer": "integers",
    "number": "numbers",
    "texts": "lists of text",
    "image": "images (a struct of bytes and path)",
    "record": "a struct",
}
