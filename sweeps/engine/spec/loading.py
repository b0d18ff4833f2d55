"""Finding a sweep by name or path, and changing it with `--set key.sub=value`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.trial_fields import assign
from sweeps.engine.spec.user_files import BadInputError as BadInputError
from sweeps.engine.spec.user_files import explain, forget_files, run_file
from sweeps.engine.spec.yaml_sweeps import ENDINGS, parse_yaml, yaml_sweep
from trainables.common.names import unknown

SWEEPS_FOLDER = Path(__file__).parents[2]
SUFFIXES = (".py", *ENDINGS)


def shipped_sweeps() -> dict[str, Path]:
    """The sweep files of the `sweeps/` folder by name."""
    files = sorted(SWEEPS_FOLDER.glob("*.py"))
    return {file.stem: file for file in files if not file.stem.startswith("_")}


def load_sweep(name_or_path: str, overrides: Sequence[str] = ()) -> SweepSpec:
    """The sweep of that name (in `sweeps/`) or path.

    A path is that of a Python file that defines `sweep`, or of a YAML file with its fields.

    Raises:
        BadInputError: unknown name, a file that does not run, or an override that does not fit.
    """
    path = _find(name_or_path)
    forget_files()
    if path.suffix in ENDINGS:
        return apply_overrides(yaml_sweep(path), overrides)
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
        assign(values, key.strip().split("."), _parse_value(text), SweepSpec)
    try:
        return SweepSpec.model_validate(values)
    except ValidationError as error:
        raise BadInputError(explain(error)) from None


def _find(name_or_path: str) -> Path:
    shipped = shipped_sweeps()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if path.suffix in SUFFIXES:
        if path.is_file():
            return path
        raise BadInputError(f"the sweep file {name_or_path} does not exist")
    raise BadInputError(
        unknown("sweep", name_or_path, shipped) + " Or give the path of a Python or YAML file."
    )


def _parse_value(text: str) -> Any:
    try:
        return parse_yaml(text)
    except yaml.YAMLError:
        return text
