"""Any field of a trial as a factor, by its dotted path below `trial`: `recovery.weight_decay`."""

import math
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from analysis.bases import FREE
from search_spaces.factors import Cell
from search_spaces.spaces import Space
from search_spaces.suggesters import Suggester
from sweeps.engine.spec.user_files import BadInputError, explain, model_in
from trainables.common.names import nearest, unknown
from trainables.specs import TrialSpec

SAME_MODEL = "a sweep compares students of one dense model"
SAME_SCORES = "trials are compared by the same scores"
FIXED = {  # what no factor may set, by the beginning of its path
    "model": SAME_MODEL,
    "baseline": SAME_MODEL,
    "evaluation": SAME_SCORES,
    "efficiency": "trials are compared by the same measurements",
    "data.conversations": "trials are ranked together that read the same data",
    "data.image_folder": "trials are ranked together that read the same data",
    "recovery.preset": "it stands for settings of the whole sweep; name one of those",
    **dict.fromkeys(FREE, "it says how the work is done and changes no result"),
}
# What the factors of the shipped spaces set.
SETS = {
    "method": ("pruning.method",),
    "ratio": ("pruning.ratio", "pruning.size"),
    "scope": ("recovery.scope",),
    "terms": tuple(f"recovery.loss.{n}" for n in ("alpha", "beta", "gamma", "logits", "hidden")),
    "data_fraction": ("recovery.data_fraction",),
    "lr_scale": ("recovery.learning_rate", "recovery.learning_rate_scale"),
    "budget_scale": ("recovery.budget",),
    "lora_rank": ("recovery.lora_rank",),
    "quantization": ("quantization",),
    "seed": ("seeds",),
    "calibration_samples": ("pruning.importance.samples",),
    "calibration_seed": ("seeds.calibration",),
}
DECADE = 10.0  # an interval at least so wide is searched on a log scale


def check_field(path: str, space: Space | None = None) -> None:
    """Refuse what is no plain field of a trial, or none that may differ within a sweep.

    Raises:
        ValueError: names the nearest field, or why it may not.
    """
    names = dict.fromkeys(_paths(TrialSpec))
    if path not in names:
        inner = [name for name in names if name.startswith(f"{path}.")]
        if inner:
            raise ValueError(f"{path} holds several fields; name one: {', '.join(inner)}")
        near = nearest(path, names)
        siblings = [n for n in names if n.rpartition(".")[0] == path.rpartition(".")[0]]
        also = f"; fields there: {', '.join(siblings)}" if siblings else ""
        raise ValueError(f"{path!r} is no field of a trial{near}{also}")
    for fixed, why in FIXED.items():
        if path == fixed or path.startswith(f"{fixed}."):
            raise ValueError(f"{path} can be no factor: {why}")
    for factor in (*space.stratifiable, *space.numbers) if space else ():
        if any(path == own or path.startswith(f"{own}.") for own in SETS.get(factor, ())):
            raise ValueError(f"{path} is what the space's own factor {factor!r} sets; use that")


def check_levels(trial: TrialSpec, path: str, levels: Iterable[Any]) -> None:
    """Refuse a level that the field cannot have.

    Raises:
        ValueError: names the level and the rule.
    """
    for value in levels:
        if not isinstance(value, str | int | float | bool | None):
            raise ValueError(
                f"{path} has the level {value!r}, but a level is a number, a word, true, false or "
                "none; let a function of `space` make larger values of it"
            )
        try:
            with_fields(trial, {path: value})
        except ValidationError as error:
            # What contradicts other settings may fit once other factors are set.
            own = [e for e in error.errors() if ".".join(map(str, e["loc"])).startswith(path)]
            if own:
                raise ValueError(f"{path}={value!r}: {own[0]['msg']}") from None


def with_fields(trial: TrialSpec, values: Mapping[str, Any]) -> TrialSpec:
    """The trial with these fields, by dotted path, checked as a whole.

    Raises:
        BadInputError: there is no such field.
        ValidationError: a value does not fit.
    """
    plain = trial.model_dump()
    for path, value in values.items():
        assign(plain, path.split("."), value, TrialSpec)
    return TrialSpec.model_validate(plain)


def with_field_factors(
    space: Space,
    fields: Sequence[str],
    choices: Mapping[str, Sequence[Any]],
    ranges: Mapping[str, tuple[float, float]],
) -> Space:
    """The space, in which these fields are factors besides: of the cell, or searched."""

    def build(trial: Suggester, cell: Cell, base: TrialSpec) -> TrialSpec:
        spec = space.build(trial, cell, base)
        values: dict[str, Any] = {}
        for path in fields:
            if path in cell:
                values[path] = cell[path]
            elif path in choices:
                values[path] = trial.suggest_categorical(path, choices[path])
            else:
                values[path] = _number(trial, path, *ranges[path])
        try:
            return with_fields(spec, values)
        except ValidationError as error:
            shown = ", ".join(f"{path}={value}" for path, value in values.items())
            raise BadInputError(f"no trial can have {shown} here: {explain(error)}") from None

    return replace(space, build=build)


def value_of(trial: TrialSpec, path: str) -> Any:
    """The value of a field; None where what holds it is not set."""
    found: Any = trial
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def assign(
    values: dict[str, Any], keys: Sequence[str], value: Any, model: type[BaseModel] | None
) -> None:
    """Set a value in the dump of a model, checking every key against its fields on the way.

    Args:
        values: the dump, which is changed.
        keys: the path.
        value: for its end.
        model: whose values these are.

    Raises:
        BadInputError: there is no such field; names the nearest.
    """
    path = ".".join(keys)
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
        model = model_in(model.model_fields[key].annotation) if model else None
        if values.get(key) is None:
            if model is None:
                raise BadInputError(f"{'.'.join((*outer, key))} is not set in this sweep")
            values[key] = {}
        values = values[key]
    if list(keys[-3:-1]) == ["recovery", "budget"]:  # the four budgets exclude each other
        values.clear()
    values[keys[-1]] = value


def _paths(model: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        yield from _paths(inner, f"{before}{name}.") if inner else (f"{before}{name}",)


def _number(trial: Suggester, path: str, low: float, high: float) -> float | int:
    *outer, name = path.split(".")
    model: type[BaseModel] | None = TrialSpec
    for key in outer:
        model = model_in(model.model_fields[key].annotation) if model else None
    kinds = typing.get_args(model.model_fields[name].annotation) if model else ()
    kind = model.model_fields[name].annotation if model else float
    log = low > 0 and high / low >= DECADE
    if int in (kind, *kinds):
        return trial.suggest_int(path, math.ceil(low), math.floor(high), log=log)
    return trial.suggest_float(path, low, high, log=log)
