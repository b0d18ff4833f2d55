"""The model-based sampler: what it learns across cells, and the numbers that it learns from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from analysis.axes import AXES, Axis
from search_spaces.spaces import SPACES
from search_spaces.suggesters import PointTrial
from sweeps.engine.search import process
from sweeps.engine.search.encoding import Encoder, Points, leaves
from sweeps.engine.search.observations import Observation, State, cell_id
from sweeps.engine.search.process import Process, results_fitted
from sweeps.engine.search.sampler import propose
from trainables.specs import TrialSpec

SPACE = SPACES["frontier"].restricted({"scope": ("joint", "projector"), "terms": ("ce", "ce+l2")})
BASE = TrialSpec()
HERE, THERE = {"method": "layerwise", "ratio": 0.3}, {"method": "layerwise", "ratio": 0.45}
RETENTION, COST = AXES["retention"], AXES["recovery_tflops"]


def seen(
    cell: Mapping[str, Any], params: Mapping[str, Any], *reached: float, state: State = "completed",
    **excess: float,
) -> Observation:  # fmt: skip
    point = PointTrial(params)
    SPACE.build(point, cell, BASE)
    return Observation(cell, point.params, point.distributions, state, reached, excess)


def ask(
    cell: Mapping[str, Any], history: list[Observation], index: int = 0,
    objectives: tuple[Axis, ...] = (RETENTION, COST),
) -> dict[str, Any]:  # fmt: skip
    found = propose(
        SPACE, cell, BASE, history, seed=(0, index), sampler="ehvi", startup=4,
        objectives=objectives,
    )  # fmt: skip
    assert found.drawn == "model"
    return found.params


def low_rates_are_best(cell: Mapping[str, Any], count: int, seed: int = 0) -> list[Observation]:
    """Random points of a cell whose retention falls with the rate, at the same cost."""
    found = []
    for index in range(count):
        params = propose(SPACE, cell, BASE, [], seed=(seed, index), sampler="random").params
        found.append(seen(cell, params, 0.8 - 0.1 * math.log2(params["lr_scale"]), 1.0))
    return found


def rates(asked: list[dict[str, Any]]) -> list[float]:
    return [math.log2(params["lr_scale"]) for params in asked]


def test_what_a_cell_taught_is_used_in_another() -> None:
    history = low_rates_are_best(HERE, 24)
    asked = [ask(THERE, history, index) for index in range(3)]
    assert max(rates(asked)) < -1, "the range is -2 to 2"


def test_a_cell_that_was_seen_to_differ_is_believed() -> None:
    history = low_rates_are_best(HERE, 24)
    for o in low_rates_are_best(THERE, 24, seed=1):
        assert o.reached[0] is not None
        history.append(replace(o, reached=(1.6 - o.reached[0], 1.0)))
    assert max(rates([ask(HERE, history)])) < -1
    assert min(rates([ask(THERE, history)])) > 1


def test_a_limit_is_learned() -> None:
    """`joint` reaches more, and is mostly beyond the limit."""
    history = []
    for index in range(24):
        params = propose(SPACE, HERE, BASE, [], seed=(3, index), sampler="random").params
        joint = params["scope"] == "joint"
        history.append(seen(HERE, params, 0.9 if joint else 0.5, 1.0, latency=0.3 * joint - 0.1))
    assert {ask(HERE, history, i)["scope"] for i in range(4)} == {"projector"}
    free = [replace(o, excess={}) for o in history]
    assert ask(HERE, free)["scope"] == "joint"


def test_where_trials_were_stopped_it_is_not_tried_again() -> None:
    """Stopped ones have half of the score; without them nothing is known of high rates."""
    ended = [o for o in low_rates_are_best(HERE, 40) if o.params["lr_scale"] < 1]
    flat = [replace(o, reached=(0.8, 1.0)) for o in ended]
    stopped = [
        replace(o, state="early_stopped", reached=(0.4, 0.1), ended=50)
        for o in low_rates_are_best(HERE, 40, seed=1)
        if o.params["lr_scale"] > 1
    ]
    assert max(rates([ask(HERE, flat + stopped, i) for i in range(4)])) < 0.3
    assert max(rates([ask(HERE, flat, i) for i in range(4)])) > 0.3


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_objectives(count: int) -> None:
    objectives = (RETENTION, COST, AXES["tflops"])[:count]
    history = [
        replace(o, reached=(o.reached[0], 1.0 + i % 3, 2.0)[:count])
        for i, o in enumerate(low_rates_are_best(HERE, 20))
    ]
    assert rates([ask(HERE, history, objectives=objectives)])[0] < 0


def test_lengths_are_fitted_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one result more each time, two processes; content decides, so a resumed run agrees."""
    process._kernel.cache_clear()
    history = [replace(o, ended=i) for i, o in enumerate(low_rates_are_best(HERE, 24))]
    for count in range(8, 25):
        ask(HERE, history[:count], count)
    sizes = {results_fitted(count, 4) for count in range(8, 25)}
    assert process._kernel.cache_info().misses == 2 * len(sizes) < 17


@pytest.mark.parametrize(
    ("count", "least", "expected"),
    [(10, 10, 10), (12, 10, 10), (13, 10, 13), (20, 10, 17), (1000, 10, 109), (3, 4, 3)],
)
def test_with_how_many_results_lengths_are_fitted(count: int, least: int, expected: int) -> None:
    assert results_fitted(count, least) == expected


def test_a_process_interpolates_and_knows_how_far_it_is_from_what_it_saw() -> None:
    rows = np.linspace(0, 1, 9)[:, None]
    values = np.sin(4 * rows[:, 0])
    learned = Process(rows, values, (rows, values), np.zeros((0, 1)))
    mean, error = learned(np.array([[0.3], [3.0]]))
    assert mean[0] == pytest.approx(math.sin(1.2), abs=0.05)
    assert error[1] > 5 * error[0]
    running = Process(rows, values, (rows, values), np.array([[3.0]]))
    assert running(np.array([[3.0]]))[1][0] < error[1] / 2, "as if it had come out as expected"
    assert running(np.array([[3.0]]))[0][0] == pytest.approx(mean[1], abs=0.05)


def test_encoding_measures_alike() -> None:
    asked = {
        "terms": CategoricalDistribution(("ce", "ce+l2", "kl", None)),
        "data": CategoricalDistribution((0.02, 0.05, 0.2)),
        "rate": FloatDistribution(0.25, 4.0, log=True),
        "steps": IntDistribution(10, 20),
        "on": CategoricalDistribution((True, False)),
    }
    encoder = Encoder([({"ratio": 0.15}, asked), ({"ratio": 0.6}, asked)])

    def row(ratio: float = 0.15, **params: Any) -> np.ndarray[Any, Any]:
        return encoder.rows([({"ratio": ratio}, params)])[0]

    def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
        return float(np.linalg.norm(row(**one) - row(**other)))

    assert apart({"terms": "ce"}, {"terms": "kl"}) == pytest.approx(1)
    assert apart({"terms": "ce"}, {"terms": "ce+l2"}) == pytest.approx(math.sqrt(0.5))
    assert apart({"on": True}, {"on": False}) == pytest.approx(1)
    assert apart({"rate": 0.25}, {"rate": 1.0}) == pytest.approx(0.5), "a log scale"
    assert apart({"data": 0.02}, {"data": 0.2}) == pytest.approx(1)
    assert apart({"ratio": 0.15}, {"ratio": 0.6}) == pytest.approx(1)
    assert apart({}, {"steps": 15}) == 0, "what is missing lies in the middle"


def test_random_points_are_of_the_space(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = leaves(SPACE, cell_id(HERE), BASE)
    encoder = Encoder([(HERE, leaf.distributions) for leaf in offered])
    points, rng = Points(offered, HERE, encoder), np.random.default_rng(0)
    places, rows = points.random(rng, 200)
    near = points.around(rng, places, rows)
    chosen: Callable[[int, Any], dict[str, Any]] = points.params
    for each in (rows, near):
        for place, row in zip(places, each, strict=True):
            params = chosen(place, row)
            point = PointTrial(params)
            SPACE.build(point, HERE, BASE)  # raises where a value is outside
            assert point.params == params
            assert encoder.rows([(HERE, params)])[0] == pytest.approx(row)
    assert len({offered[place].params["scope"] for place in places}) == 2
    assert 0 < np.abs(near - rows).max() < 0.6
