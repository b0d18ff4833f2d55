"""Who answers a define-by-run space: Optuna's trials, fixed points, a sweep's own choices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Suggester(Protocol):
    """The part of `optuna.trial.Trial` that spaces use."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A float in [low, high]."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """An int in [low, high]."""


class OutsideError(ValueError):
    """A point lies outside of the space."""


class PointTrial:
    """Answers a space's questions from a given point; the rest changes nothing (`_default`).

    After the space has run, `params` and `distributions` are what an Optuna trial would hold, so a
    designed point, or one read back from the ledger, can be told to a study.
    """

    def __init__(self, point: Mapping[str, Any]) -> None:
        self._point = dict(point)
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The point's value, which must be one of `choices`; the first choice by default."""
        from optuna.distributions import CategoricalDistribution

        return self.answer(name, CategoricalDistribution(tuple(choices)))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """The point's value in [low, high]; by default 0, or 1 if `log` (else see `_default`)."""
        from optuna.distributions import FloatDistribution

        return float(self.answer(name, FloatDistribution(low, high, log=log)))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """The point's value in [low, high]; by default the middle (geometric if `log`)."""
        from optuna.distributions import IntDistribution

        return int(self.answer(name, IntDistribution(low, high, log=log)))

    def check_used(self, allowed: Sequence[str] = ()) -> None:
        """Raise unless the space asked for every key of the point (or it is in `allowed`).

        Raises:
            ValueError: names the idle keys and those that the space knows at this point.
        """
        idle = sorted(set(self._point) - set(self.params) - set(allowed))
        if idle:
            raise ValueError(
                f"point {self._point} sets {', '.join(idle)}, which the space does not use there; "
                f"it uses {', '.join(sorted({*self.params, *allowed}))}"
            )

    def answer(self, name: str, distribution: BaseDistribution) -> Any:
        """The point's value, which must lie in the distribution; `_default` where it has none."""
        value = self._point[name] if name in self._point else _default(distribution)
        try:
            inside = distribution._contains(distribution.to_internal_repr(value))
        except (ValueError, TypeError):
            inside = False
        if not inside:
            raise OutsideError(f"{name}={value!r} is outside of the space: {distribution}")
        self.params[name] = value
        self.distributions[name] = distribution
        return value


class Offering:
    """A suggester that offers other choices and intervals than the space does.

    Args:
        trial: who answers.
        offered: what to offer, given a categorical factor's name and the space's choices for it.
        ranges: (lowest, highest) of numbers by their names; others keep the space's own.
    """

    def __init__(
        self,
        trial: Suggester,
        offered: Callable[[str, Sequence[Any]], Sequence[Any]],
        ranges: Mapping[str, tuple[float, float]],
    ) -> None:
        self._trial, self._offered, self._ranges = trial, offered, ranges

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of what is offered in place of `choices`."""
        return self._trial.suggest_categorical(name, self._offered(name, choices))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A float in the interval that is offered in place of [low, high]."""
        return self._trial.suggest_float(name, *self._ranges.get(name, (low, high)), log=log)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """An int in the interval that is offered in place of [low, high]."""
        low, high = map(round, self._ranges.get(name, (low, high)))
        return self._trial.suggest_int(name, low, high, log=log)


def _default(distribution: BaseDistribution) -> Any:
    """The first choice; of an interval what changes nothing, a log ratio of 0 or a factor of 1.

    Where that lies outside, the middle, which is geometric on a log scale.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    middle = math.sqrt(low * high) if distribution.log else (low + high) / 2
    if isinstance(distribution, IntDistribution):
        return round(middle) if distribution.log else math.floor(middle)
    nothing = 1.0 if distribution.log else 0.0
    return nothing if low <= nothing <= high else middle
