"""The sampler as a pure function: from what is known of a sweep to the next trial of a cell.

`ehvi.py` answers by itself once there are enough results. For Optuna's samplers a study over all
cells is made in memory at every call, from the ledger and the running trials; nothing else has to
be kept, and a space or a budget may change between runs. The cell is fixed, not searched: what is
learned in one informs the others, so scores are standardised within their cell (else the study
would learn that small ratios keep more) and costs count on a log scale. The sampler is seeded by
(sweep seed, trial index) and sees running trials, so parallel proposals differ (seeding by the
number of told trials makes them identical).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analysis.axes import Axis
from analysis.goals import Goals
from search_spaces.factors import Cell
from search_spaces.spaces import Space
from search_spaces.suggesters import PointTrial
from sweeps.engine.search.history import Prior, Without, as_optuna, with_all_factors
from sweeps.engine.search.observations import Observation
from sweeps.engine.search.samplers import MODELS, MOST_OF_GP, OutOfRangeError, blamed, make_sampler
from sweeps.engine.spec.ledger import Drawn
from trainables.specs import TrialSpec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
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
    sampler: str = "auto",
    startup: int = 10,
    without: Without | None = None,
    objectives: Sequence[Axis] = Goals().objectives,
    prior: Sequence[Prior] = (),
) -> Proposal:
    """The next trial of a cell, by a sampler that knows the objectives of all cells.

    Args:
        space: the search space.
        cell: the stratified factors, which are not searched.
        base: the base of the trial.
        observations: every earlier trial of the sweep, running ones included.
        seed: the sweep's seed, the trial's index in the sweep, the attempt.
        sampler: its name (see `SweepSpec.sampler`).
        startup: trials with a result before the sampler leaves random search.
        without: choices that are not offered.
        objectives: what the observations have reached.
        prior: trials of other sweeps, and their objectives.

    Raises:
        SamplerError: the sampler raised, or proposed what the space does not contain.
    """
    from optuna.trial import TrialState

    from sweeps.engine.search.ehvi import choose

    without = without or {}
    observations = list(observations)
    completed = sum(o.values is not None for o in observations)
    with blamed(sampler):
        if sampler in MODELS and completed + len(prior) >= startup:
            params = choose(
                space,
                cell,
                base,
                observations,
                seed=_state(seed),
                startup=startup,
                without=without,
                objectives=objectives,
                prior=prior,
            )
            return Proposal(params, space.build(PointTrial(params), cell, base), "model")
        made = make_sampler(sampler, _state(seed), startup)
        told: list[FrozenTrial] = []
        if sampler not in ("random", *MODELS):  # which look at none; the model is not asked yet
            told = _told_to(made, observations, without, objectives, prior)
        trial = _study(made, told, objectives).ask()
        spec = space.lessened(without).build(trial, cell, base)
    results = sum(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in told)
    drawn: Drawn = "startup" if results < startup else "model"
    return Proposal(dict(trial.params), spec, "random" if sampler == "random" else drawn)


def draw(
    space: Space,
    cell: Cell,
    base: TrialSpec,
    answers: Mapping[str, Any],
    seed: Sequence[int],
    drawn: Drawn = "rest",
) -> Proposal:
    """A random trial of a cell with these answers."""
    import optuna

    study = _study(optuna.samplers.RandomSampler(_state(seed)), [], Goals().objectives)
    study.enqueue_trial(dict(answers))
    trial = study.ask()
    spec = space.build(trial, cell, base)
    return Proposal(dict(trial.params), spec, drawn)


def _told_to(
    sampler: BaseSampler,
    observations: Iterable[Observation],
    without: Without,
    objectives: Sequence[Axis],
    prior: Sequence[Prior],
) -> list[FrozenTrial]:
    """The trials in the form that a kind of sampler can learn from.

    A Gaussian process and genetic algorithms model only what all trials have in common, so each
    gets all factors. Those trials are one generation, from the best of which every proposal is
    bred: generations of a fixed size would depend on which trials end first.
    """
    from optuna.samplers import GPSampler
    from optuna.samplers._ga import BaseGASampler

    if isinstance(sampler, GPSampler):
        told = as_optuna(observations, without, objectives, MOST_OF_GP, prior)
        return with_all_factors(told, {})
    told = as_optuna(observations, without, objectives, prior=prior)
    if isinstance(sampler, BaseGASampler):
        return with_all_factors(told, {sampler._get_generation_key(): 0})
    return told


def _study(sampler: BaseSampler, told: Sequence[FrozenTrial], objectives: Sequence[Axis]) -> Study:
    """A study of these objectives that holds these trials, numbered from 1.

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

        def set_trial_param(
            self, trial_id: int, name: str, internal: float, distribution: BaseDistribution
        ) -> None:
            if not distribution._contains(internal):
                raise OutOfRangeError(f"{name}={internal!r}, which is not in {distribution}")
            super().set_trial_param(trial_id, name, internal, distribution)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ways: dict[str, Literal["maximize", "minimize"]] = {"higher": "maximize", "lower": "minimize"}
    directions = [ways[axis.better] for axis in objectives]
    return optuna.create_study(storage=Storage(), directions=directions, sampler=sampler)


def _state(seed: Sequence[int]) -> int:
    return int(np.random.SeedSequence(tuple(seed)).generate_state(1)[0])
