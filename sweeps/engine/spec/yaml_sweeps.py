"""A sweep as YAML: the fields of `SweepSpec`, and where in the file each of them stands."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.user_files import FUNCTION_IN_FILE, BadInputError, explain, model_in
from trainables.common.names import nearest

ENDINGS = (".yaml", ".yml")
_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"


class Loader(yaml.SafeLoader):
    """YAML as version 1.2 has it: `on` and `no` are words, 1e-3 is a number."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != _BOOL]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(_BOOL, re.compile(r"(?i:true|false)$"), list("tTfF"))
Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("+-.0123456789")
)


def parse_yaml(text: str) -> Any:
    """A YAML value.

    Raises:
        yaml.YAMLError: it is none.
    """
    return yaml.load(text, Loader=Loader)  # a SafeLoader


def yaml_sweep(path: Path) -> SweepSpec:
    """The sweep of a YAML file; `space` and `sampler` may name Python files beside it.

    Raises:
        BadInputError: no YAML, an unknown key (the nearest is named) or a value that does not fit,
            each with its line.
    """
    text = path.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text, Loader=Loader)
        if not isinstance(node, yaml.MappingNode):
            raise BadInputError(f"{path} holds no sweep; write its fields, `name: my_sweep` first")
        _check_keys(node, SweepSpec, path)
        values = parse_yaml(text)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise BadInputError(f"{path}{line}: {problem or error}") from None
    for name in ("space", "sampler"):
        given = values.get(name)
        if isinstance(given, str) and FUNCTION_IN_FILE.fullmatch(given):
            values[name] = str(path.absolute().parent / given)
    try:
        return SweepSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        number = _line_of(node, first["loc"]) if first["loc"] else _line_named(node, first["msg"])
        raise BadInputError(f"{path}, line {number}: {explain(error)}") from None


def _check_keys(node: yaml.MappingNode, model: type[BaseModel] | None, path: Path) -> None:
    seen = set[str]()
    for key, value in node.value:
        where = f"{path}, line {key.start_mark.line + 1}"
        if key.value in seen:
            raise BadInputError(f"{where}: {key.value} stands there twice")
        seen.add(key.value)
        if model and key.value not in model.model_fields:
            fields = model.model_fields
            raise BadInputError(
                f"{where}: {key.value!r} is no field of {model.__name__}"
                f"{nearest(key.value, fields)}; its fields are {', '.join(fields)}"
            )
        inner = model_in(model.model_fields[key.value].annotation) if model else None
        for each in value.value if isinstance(value, yaml.SequenceNode) else (value,):
            if isinstance(each, yaml.MappingNode):
                _check_keys(each, inner, path)


def _line_named(node: yaml.MappingNode, text: str) -> int:
    """The line, from 1, of a key that a text about the whole quotes; else that of the file."""
    for key, value in node.value:
        if repr(key.value) in text:
            return int(key.start_mark.line) + 1
        if isinstance(value, yaml.MappingNode) and (line := _line_named(value, text)) > 1:
            return line
    return 1


def _line_of(node: yaml.Node, loc: Iterable[Any]) -> int:
    """The line, from 1, of the deepest part of a place that the file has."""
    line = node.start_mark.line
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            found = {key.value: (key, value) for key, value in node.value}
            if str(step) not in found:
                break
            key, node = found[str(step)]
            line = key.start_mark.line
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line
    return line + 1
