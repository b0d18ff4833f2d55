"""Optuna as a pure function: from what is known of a cell to the next trial of that cell.

A study is rebuilt in memory at every call, from the ledger and the running trials; nothing else has
to be kept, and a space or a budget may change between runs. The sampler is seeded by (sweep seed,
trial index) and sees running trials, so parallel proposals differ (seeding by the number of told
trials makes them identical).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from search_spaces.factors import Cell
from search_spaces.spaces import Space
from search_spaces.suggesters import PointTrial
from trainables.specs import TrialSpec

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

State = Literal["completed", "running", "early_stopped", "failed"]
_OPTUNA_STATES: dict[State, str] = {
    "completed": "COMPLETE",
    "running": "RUNNING",
    "early_stopped": "PRUNED",  # Optuna's word for it
    "failed": "FAIL",
}


@dataclass(frozen=True)
class Observation:
    """What is known of one trial of a cell: its searched factors, and how it stands.

    Attributes:
        retention: on the search split; only a completed trial's counts.
        recovery_tflops: its nominal cost.
    """

    params: dict[str, Any]
    state: State
    retention: float | None = None
    recovery_tflops: float | None = None

    @property
    def values(self) -> tuple[float, float] | None:
        """The objectives of a completed trial; None where one is missing or not finite."""
        pair = (self.retention, self.recovery_tflops)
        if self.state != "completed" or any(v is None or not math.isfinite(v) for v in pair):
            return None
        return (float(pair[0] or 0.0), float(pair[1] or 0.0))


def propose(
    space: Space,
    cell: Cell,
    base: TrialSpec,
    observations: Sequence[Observation],
    *,
    seed: int,
    index: int,
    startup: int = 10,
) -> tuple[dict[str, Any], TrialSpec]:
    """The next trial of a cell, by multi-objective TPE over retention and recovery cost.

    Args:
        space: the search space.
        cell: the stratified factors, which are not searched.
        base: the base of the trial.
        observations: every earlier trial of the cell, running ones included.
        seed: the sweep's seed.
        index: the trial's index in the sweep.
        startup: trials with a result before the sampler leaves random search.

    Returns:
        Its searched factors, and its spec.
    """
    import optuna

    state = np.random.SeedSequence((seed, index)).generate_state(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=startup,
            multivariate=True,
            group=True,  # the space is conditional
            constant_liar=True,
            seed=int(state[0]),
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    told = (_as_optuna(space, cell, base, observation) for observation in observations)
    study.add_trials([trial for trial in told if trial is not None])
    trial = study.ask()
    spec = space.build(trial, cell, base)
    return dict(trial.params), spec


def _as_optuna(
    space: Space, cell: Cell, base: TrialSpec, observation: Observation
) -> FrozenTrial | None:
    """The observation as an Optuna trial; None when the space of today does not contain it."""
    from optuna.trial import TrialState, create_trial

    point = PointTrial(observation.params)
    try:
        space.build(point, cell, base)
        point.check_used()
    except ValueError:
        return None
    values = observation.values
    state = TrialState[_OPTUNA_STATES[observation.state]]
    if state is TrialState.COMPLETE and values is None:
        state = TrialState.FAIL
    return create_trial(
        state=state,
        params=point.params,
        distributions=point.distributions,
        values=list(values) if values is not None else None,
    )
