"""Optuna as a pure function: determinism, distinct proposals, odd results, learning."""

from __future__ import annotations

import math

import optuna
import pytest

from search_spaces.spaces import SPACES
from sweeps.engine.search.sampler import Observation, _as_optuna, propose
from trainables.specs import TrialSpec

# Without `none`, which has no further factor: two of those would be the same trial.
SPACE = SPACES["frontier"].restricted({"scope": ("joint", "projector")})
BASE, CELL = TrialSpec(), {"method": "layerwise", "ratio": 0.3}
JOINT = {"scope": "joint", "terms": "ce+l2", "log2_hidden": 0.0, "data_fraction": 0.1}
JOINT |= {"lr_scale": 1.0, "lora_rank": 16}


def _propose(observations: list[Observation], index: int, startup: int = 3) -> dict[str, object]:
    return propose(SPACE, CELL, BASE, observations, seed=1, index=index, startup=startup)[0]


def test_the_same_history_gives_the_same_proposal() -> None:
    history = [Observation(JOINT, "completed", 0.9, 4.0)]
    assert _propose(history, 5) == _propose(history, 5)
    assert _propose(history, 5) != _propose(history, 6)


def test_parallel_proposals_are_distinct() -> None:
    history = [Observation(JOINT, "completed", 0.4, 1.0)] * 4
    running: list[Observation] = []
    for index in range(8):
        params = _propose([*history, *running], index)
        running.append(Observation(params, "running"))
    assert len({tuple(sorted(o.params.items())) for o in running}) == 8


@pytest.mark.parametrize(
    ("observation", "state"),
    [
        (Observation(JOINT, "completed", 0.9, 4.0), "COMPLETE"),
        (Observation(JOINT, "completed", math.nan, 4.0), "FAIL"),
        (Observation(JOINT, "completed", math.inf, 4.0), "FAIL"),
        (Observation(JOINT, "completed", None, 4.0), "FAIL"),
        (Observation(JOINT, "early_stopped", 0.9, 4.0), "PRUNED"),
        (Observation(JOINT, "failed"), "FAIL"),
        (Observation(JOINT, "running"), "RUNNING"),
    ],
)
def test_what_optuna_is_told(observation: Observation, state: str) -> None:
    told = _as_optuna(SPACE, CELL, BASE, observation)
    assert told is not None
    assert told.state is optuna.trial.TrialState[state]
    assert (told.values == [0.9, 4.0]) == (state == "COMPLETE"), "no score but a completed one's"
    assert told.params == JOINT


def test_a_point_of_another_space_is_left_out() -> None:
    for params in ({**JOINT, "lora_rank": 3}, {**JOINT, "gone": 1}, {**JOINT, "lr_scale": 900.0}):
        assert _as_optuna(SPACE, CELL, BASE, Observation(params, "completed", 0.9, 1.0)) is None


def test_it_survives_a_history_of_nothing_but_trouble() -> None:
    states = ("failed", "early_stopped", "running", "failed")
    history = [Observation(JOINT, state) for state in states]  # type: ignore[arg-type]
    history.append(Observation(JOINT, "completed", math.nan, 1.0))
    assert "scope" in _propose(history, 9, startup=1)


def test_it_learns_which_scope_is_good() -> None:
    """With `projector` always worse and dearer than `joint`, TPE asks for it rarely."""
    history = []
    for index in range(30):
        params = _propose(history, index, startup=8)
        good = params["scope"] == "joint"
        history.append(Observation(params, "completed", 0.9 if good else 0.3, 1.0 if good else 5.0))
    chosen = [o.params["scope"] == "joint" for o in history[8:]]
    assert sum(chosen) / len(chosen) > 0.6
