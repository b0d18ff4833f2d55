"""A search space of the user's own: a function of (trial, cell, base), named by `file.py:function`.

What it asks of `trial` are its factors; those that the cell fixes are answered by it. It returns
the trial, or fields of the base by dotted path.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from search_spaces.factors import Cell
from search_spaces.spaces import SPACES, Space
from search_spaces.suggesters import Suggester
from sweeps.engine.spec.trial_fields import FIXED, value_of, with_fields
from sweeps.engine.spec.user_files import (
    FUNCTION_IN_FILE,
    BadInputError,
    explain,
    neighbours,
    place_in,
    said,
    user_function,
)
from trainables.common.names import unknown
from trainables.specs import TrialSpec

FORM = "`def f(trial, cell, base):` that returns a trial"
SHIPPED = frozenset(name for s in SPACES.values() for name in (*s.stratifiable, *s.numbers))


class SpaceError(BadInputError):
    """A space of the user's raised, or returned no trial; the message says where."""


def space_name(given: Any) -> Any:
    """What a sweep keeps of its space: a name, or `file.py:function` with the file's whole path.

    Raises:
        ValueError: a function that no other process could find, or an unknown name.
    """
    if callable(given):
        function: Any = inspect.unwrap(given)
        name = getattr(function, "__qualname__", "")
        code = getattr(function, "__code__", None)
        if code is None or not name.isidentifier() or not Path(code.co_filename).is_file():
            raise ValueError(
                f"space={given!r} cannot be found again by another process; give a function that "
                "is defined by `def` at the top of a file"
            )
        return f"{Path(code.co_filename).resolve()}:{name}"
    if isinstance(given, str) and FUNCTION_IN_FILE.fullmatch(given):
        path, _, name = given.rpartition(":")
        return f"{Path(path).absolute()}:{name}"
    if isinstance(given, str) and given not in SPACES:
        raise ValueError(
            unknown("search space", given, SPACES) + " Or give a function of (trial, cell, base), "
            "or file.py:function."
        )
    return given


def find_space(name: str, seen: Callable[[str], None] | None = None) -> Space:
    """The space of that name, or the user's own.

    Args:
        name: of the space, or `file.py:function`.
        seen: is told every factor of the cell that the user's function asks for.

    Raises:
        BadInputError: its file or function does not exist, or the file does not run.
    """
    if name in SPACES:
        return SPACES[name]
    function, path = user_function("space", name, FORM), Path(name.rpartition(":")[0])

    def build(trial: Suggester, cell: Cell, base: TrialSpec) -> TrialSpec:
        levels = _Levels(cell, seen or (lambda factor: None))
        return _call(function, path, _Celled(trial, levels), levels, base)

    return Space(f"{path.name}: {name.rpartition(':')[2]}", build, ())


def own_factors(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a trial's factors that no shipped space has."""
    return {name: value for name, value in values.items() if name not in SHIPPED}


class _Levels(dict[str, Any]):
    """A cell that tells what is asked of it."""

    def __init__(self, cell: Cell, seen: Callable[[str], None]) -> None:
        super().__init__(cell)
        self._seen = seen

    def __getitem__(self, name: str) -> Any:
        self._seen(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The level, or `default`."""
        return self[name] if name in self else default


class _Celled:
    """A suggester that answers what the cell fixes.

    Attributes:
        raised: by who answers the rest, which is no fault of the function that asks.
    """

    def __init__(self, trial: Suggester, cell: Cell) -> None:
        self._trial, self._cell = trial, cell
        self.raised: BaseException | None = None

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The cell's level, or one of `choices`."""
        return self._answer(name, lambda: self._trial.suggest_categorical(name, choices))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """The cell's level, or a float in [low, high]."""
        return float(
            self._answer(name, lambda: self._trial.suggest_float(name, low, high, log=log))
        )

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """The cell's level, or an int in [low, high]."""
        found = self._answer(name, lambda: self._trial.suggest_int(name, low, high, log=log))
        return int(found)

    def _answer(self, name: str, ask: Callable[[], Any]) -> Any:
        if name in self._cell:
            return self._cell[name]
        try:
            return ask()
        except BaseException as error:
            self.raised = error
            raise


def _call(
    function: Callable[..., Any], path: Path, trial: _Celled, cell: Cell, base: TrialSpec
) -> TrialSpec:
    who = f"space {path.name}:{function.__name__}"
    try:
        with neighbours(path.absolute().parent):
            made = function(trial, cell, base)
    except Exception as error:
        if error is trial.raised:
            raise
        raise SpaceError(
            f"{who} raised {said(error, path)} ({path}{place_in(error, path)})"
        ) from error
    try:
        if isinstance(made, Mapping):
            made = with_fields(base, made)
        elif isinstance(made, TrialSpec):  # `model_copy` checks nothing
            made = TrialSpec.model_validate(made.model_dump())
    except ValidationError as error:
        raise SpaceError(f"{who} made no trial: {explain(error)} ({path})") from None
    except BadInputError as error:
        raise SpaceError(f"{who} made no trial: {error} ({path})") from None
    if not isinstance(made, TrialSpec):
        raise SpaceError(
            f"{who} returned {made!r}; it must return a TrialSpec, or a dict of fields such as "
            "{'recovery.weight_decay': 0.1}"
        )
    for field, why in FIXED.items():
        if (old := value_of(base, field)) != (new := value_of(made, field)):
            raise SpaceError(f"{who} changed {field} from {old} to {new}, but {why}")
    return made
