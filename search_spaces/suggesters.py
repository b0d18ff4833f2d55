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


class PointTrial:
    """Answers a space's questions from a given point; the rest gets the middle or first choice.

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
        """The point's value in [low, high]; by default the middle (geometric if `log`)."""
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
        """The point's value, which must lie in the distribution; its middle by default."""
        value = self._point[name] if name in self._point else _middle(distribution)
        try:
            inside = distribution._contains(distribution.to_internal_repr(value))
        except (ValueError, TypeError):
            inside = False
        if not inside:
            raise ValueError(f"{name}={value!r} is outside of the space: {distribution}")
        self.params[name] = value
        self.distributions[name] = distribution
        return value


class Offering:
    """A suggester that offers other choices for categorical factors than the space does.

    Args:
        trial: who answers.
        offered: what to offer, given a factor's name and the space's choices for it.
    """

    def __init__(
        self, trial: Suggester, offered: Callable[[str, Sequence[Any]], Sequence[Any]]
    ) -> None:
        self._trial, self._offered = trial, offered
        self.suggest_float = trial.suggest_float
        self.suggest_int = trial.suggest_int

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of what is offered in place of `choices`."""
        return self._trial.suggest_categorical(name, self._offered(name, choices))


def _middle(distribution: BaseDistribution) -> Any:
    """The first choice, or the middle of an interval: the geometric one on a log scale."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    middle = math.sqrt(low * high) if distribution.log else (low + high) / 2
    if isinstance(distribution, IntDistribution):
        return round(middle) if distribution.log else math.floor(middle)
    return middle
