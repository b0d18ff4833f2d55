"""Optuna as a pure function: from what is known of a sweep to the next trial of one of its cells.

A study over all cells is made in memory at every call, from the ledger and the running trials;
nothing else has to be kept, and a space or a budget may change between runs. The cell is fixed, not
searched: what is learned in one informs the others, so retention is standardised within its cell
(else the study would learn that small ratios keep more) and cost counts on a log scale. The sampler
is seeded by (sweep seed, trial index) and sees running trials, so parallel proposals differ
(seeding by the number of told trials makes them identical).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from search_spaces.factors import Cell
from search_spaces.spaces import Space
from sweeps.engine.search.history import Observation, Without, as_optuna
from sweeps.engine.spec.ledger import Drawn
from trainables.specs import TrialSpec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Proposal:
    """A trial that might run next: its searched factors, its spec, and who chose it."""

    params: dict[str, Any]
    spec: TrialSpec
    drawn: Drawn


def propose(
    space: Space,
    cell: Cell,
    base: TrialSpec,
    observations: Iterable[Observation],
    *,
    seed: Sequence[int],
    startup: int = 10,
    without: Without | None = None,
) -> Proposal:
    """The next trial of a cell, by multi-objective TPE over retention and recovery cost.

    Args:
        space: the search space.
        cell: the stratified factors, which are not searched.
        base: the base of the trial.
        observations: every earlier trial of the sweep, running ones included.
        seed: the sweep's seed, the trial's index in the sweep, the attempt.
        startup: trials with a result before the sampler leaves random search.
        without: choices that are not offered.
    """
    import optuna
    from optuna.trial import TrialState

    without = without or {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=startup,
            multivariate=True,
            group=True,  # the space is conditional
            constant_liar=True,
            seed=_state(seed),
        )
    told = as_optuna(observations, without)
    results = sum(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in told)
    trial = _study(sampler, told).ask()
    spec = space.lessened(without).build(trial, cell, base)
    return Proposal(dict(trial.params), spec, "model" if results >= startup else "startup")


def draw(
    space: Space, cell: Cell, base: TrialSpec, answers: Mapping[str, Any], seed: Sequence[int]
) -> Proposal:
    """A random trial of a cell with these answers."""
    import optuna

    study = _study(optuna.samplers.RandomSampler(_state(seed)), [])
    study.enqueue_trial(dict(answers))
    trial = study.ask()
    spec = space.build(trial, cell, base)
    return Proposal(dict(trial.params), spec, "rest")


def _study(sampler: BaseSampler, told: Sequence[FrozenTrial]) -> Study:
    """A study of retention and cost that holds these trials, numbered from 1.

    They are handed over as they are: `Study.add_trials` copies and checks each of them anew, which
    took five times as long as the proposal itself.
    """
    import optuna

    class Storage(optuna.storages.InMemoryStorage):
        def get_all_trials(
            self, study_id: int, deepcopy: bool = True, states: Any = None
        ) -> list[FrozenTrial]:
            before = [trial for trial in told if states is None or trial.state in states]
            return before + super().get_all_trials(study_id, deepcopy, states)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions: list[Literal["maximize", "minimize"]] = ["maximize", "minimize"]
    return optuna.create_study(storage=Storage(), directions=directions, sampler=sampler)


def _state(seed: Sequence[int]) -> int:
    return int(np.random.SeedSequence(tuple(seed)).generate_state(1)[0])
