"""Optuna as a pure function: determinism, distinct proposals, odd results, learning."""

from __future__ import annotations

import math
from typing import Any

import optuna
import pytest

from analysis.goals import Goals
from search_spaces.spaces import SPACES
from search_spaces.suggesters import PointTrial
from sweeps.engine.search.history import MOST, as_optuna, standardised
from sweeps.engine.search.observations import Observation, observe
from sweeps.engine.search.sampler import propose
from sweeps.engine.spec.ledger import Request
from trainables.specs import Seeds, TrialSpec

# Without `none`, which has no further factor: two of those would be the same trial.
SPACE = SPACES["frontier"].restricted({"scope": ("joint", "projector")})
AIMS = Goals().objectives
BASE, CELL = TrialSpec(), {"method": "layerwise", "ratio": 0.3}
JOINT = {"scope": "joint", "terms": "ce+l2", "log2_hidden": 0.0, "data_fraction": 0.1}
JOINT |= {"lr_scale": 1.0, "lora_rank": 16}


def _seen(
    params: dict[str, Any], state: Any, *reached: Any, cell: dict[str, Any] | None = None
) -> Observation:
    """An observation in today's space: params, state, retention, cost."""
    point = PointTrial(params)
    SPACE.build(point, cell or CELL, BASE)
    return Observation(
        cell or CELL, point.params, point.distributions, state, reached or (None, None)
    )


def _propose(observations: list[Observation], index: int, startup: int = 3) -> dict[str, Any]:
    return propose(SPACE, CELL, BASE, observations, seed=(1, index), startup=startup).params


def test_the_same_history_gives_the_same_proposal() -> None:
    history = [_seen(JOINT, "completed", 0.9, 4.0)]
    assert _propose(history, 5) == _propose(history, 5)
    assert _propose(history, 5) != _propose(history, 6)


def test_parallel_proposals_are_distinct() -> None:
    history = [_seen(JOINT, "completed", 0.4, 1.0)] * 4
    running: list[Observation] = []
    for index in range(8):
        params = _propose([*history, *running], index)
        running.append(_seen(params, "running"))
    assert len({tuple(sorted(o.params.items())) for o in running}) == 8


@pytest.mark.parametrize(
    ("observation", "state"),
    [
        (_seen(JOINT, "completed", 0.9, 4.0), "COMPLETE"),
        (_seen(JOINT, "completed", math.nan, 4.0), "FAIL"),
        (_seen(JOINT, "completed", math.inf, 4.0), "FAIL"),
        (_seen(JOINT, "completed", None, 4.0), "FAIL"),
        (_seen(JOINT, "early_stopped", 0.9, 4.0), "PRUNED"),
        (_seen(JOINT, "failed"), "FAIL"),
        (_seen(JOINT, "running"), "RUNNING"),
    ],
)
def test_what_optuna_is_told(observation: Observation, state: str) -> None:
    (told,) = as_optuna([observation], {}, AIMS)
    assert told.state is optuna.trial.TrialState[state]
    assert (told.values == [0.0, math.log10(4)]) == (state == "COMPLETE"), "only a completed one's"
    assert told.params == JOINT


def test_what_teaches_nothing_is_left_out() -> None:
    def asked(params: dict[str, Any] = JOINT, origin: Any = "sampler", seeds: int = 0) -> Any:
        spec = SPACE.build(PointTrial(JOINT), CELL, BASE.model_copy(update={"seeds": Seeds()}))
        spec = spec.model_copy(update={"seeds": Seeds().shifted(seeds)})
        request = Request(
            trial_id="a", index=1, origin=origin, key="k", cell=CELL, params=params, spec=spec
        )
        return observe(SPACE, BASE, request)

    assert asked().params == JOINT
    for params in ({**JOINT, "lora_rank": 3}, {**JOINT, "gone": 1}, {**JOINT, "lr_scale": 900.0}):
        assert asked(params) is None, "today's space does not contain it"
    assert asked(origin="reference") is asked(origin="confirm") is asked(seeds=1) is None


def test_choices_that_are_left_out_are_in_no_trial_and_not_proposed() -> None:
    projector = {"scope": "projector", "terms": "ce", "data_fraction": 0.1, "lr_scale": 1.0}
    history = [_seen(p, "completed", 0.9, 4.0) for p in (JOINT, projector)] * 4
    told = as_optuna(history, {"scope": {"projector"}}, AIMS)
    assert [trial.params for trial in told] == [JOINT] * 4
    assert told[0].distributions["scope"].choices == ("joint",)
    for index in range(6):
        found = propose(
            SPACE, CELL, BASE, history, seed=(1, index), startup=2, without={"scope": {"joint"}}
        )
        assert found.params["scope"] == "projector"
        assert found.drawn == "model"


def test_values_compare_across_cells() -> None:
    """Two cells alike but for their level: the same standing; hand-computed with STEADY = 2."""
    cells = ({"ratio": 0.15}, {"ratio": 0.6})
    history = [
        _seen(JOINT, "completed", level + off, cost, cell={"method": "layerwise", **cell})
        for cell, level in zip(cells, (0.9, 0.4), strict=True)
        for off, cost in ((-0.1, 10.0), (0.1, 1000.0))
    ]
    nothing = _seen(JOINT, "completed", 0.7, 0.0, cell={"method": "widthwise", "ratio": 0.3})
    low, high, low2, high2, alone = standardised([*history, nothing], AIMS)
    # S = 0.02 in a cell, v = 0.04 / 2 = 0.02: s = sqrt((0.02 + 2 * 0.02) / 4) = 0.122
    assert low == pytest.approx((-0.1 / math.sqrt(0.015), 1.0))
    assert high == pytest.approx((0.1 / math.sqrt(0.015), 3.0))
    assert (low2, high2) == (pytest.approx(low), pytest.approx(high))
    assert alone == pytest.approx((0.0, math.log10(5.0))), "no cost: half of the smallest"


def test_what_a_cell_has_learned_speaks_in_another() -> None:
    other = {"method": "widthwise", "ratio": 0.6}
    history = []
    for index in range(30):
        params = propose(SPACE, other, BASE, [], seed=(2, index)).params
        good = params["scope"] == "joint"
        values = (0.5, 1.0) if good else (0.2, 5.0)
        history.append(_seen(params, "completed", *values, cell=other))
    chosen = [_propose(history, index)["scope"] for index in range(20)]
    assert chosen.count("joint") > 14


def test_a_long_history_is_thinned_evenly_and_keeps_its_best() -> None:
    history = [
        _seen(
            {**JOINT, "lr_scale": 0.25 + 3.7 * i / 1000}, "completed", (i * 37 % 1000) / 1000, 4.0
        )
        for i in range(1000)
    ]
    told = as_optuna(history, {}, AIMS)
    assert len(told) == MOST
    scores = sorted(((i * 37 % 1000) / 1000 for i in range(1000)), reverse=True)
    best = {0.25 + 3.7 * i / 1000 for i in range(1000) if i * 37 % 1000 >= 950}
    assert scores[49] == 0.95
    assert best <= {trial.params["lr_scale"] for trial in told}
    numbers = [trial.params["lr_scale"] for trial in told]
    assert numbers == sorted(numbers), "oldest first"
    quarters = [sum(lo <= n < lo + 0.925 for n in numbers) for lo in (0.25, 1.175, 2.1, 3.025)]
    assert min(quarters) > MOST // 5


def test_it_survives_a_history_of_nothing_but_trouble() -> None:
    states = ("failed", "early_stopped", "running", "failed")
    history = [_seen(JOINT, state) for state in states]  # type: ignore[arg-type]
    history.append(_seen(JOINT, "completed", math.nan, 1.0))
    assert "scope" in _propose(history, 9, startup=1)


def test_it_learns_which_scope_is_good() -> None:
    """With `projector` always worse and dearer than `joint`, TPE asks for it rarely."""
    history = []
    for index in range(30):
        params = _propose(history, index, startup=8)
        good = params["scope"] == "joint"
        history.append(_seen(params, "completed", 0.9 if good else 0.3, 1.0 if good else 5.0))
    chosen = [o.params["scope"] == "joint" for o in history[8:]]
    assert sum(chosen) / len(chosen) > 0.6
