"""Successive halving on an analytic objective."""

from __future__ import annotations

import math

from sweeps.engine.search.halving import Halving, RungScore, non_dominated_ranks
from sweeps.engine.spec import RungSpec


def test_ranks_by_hand() -> None:
    scores = [
        RungScore("best", 0.9, 2.0),
        RungScore("cheap", 0.5, 1.0),
        RungScore("worse", 0.8, 2.0),
        RungScore("worst", 0.4, 3.0),
    ]
    assert non_dominated_ranks(scores) == {"best": 0, "cheap": 0, "worse": 1, "worst": 2}


def test_the_best_share_goes_on() -> None:
    halving = Halving(RungSpec(reduction_factor=2.0, min_trials=2))
    retentions = [0.5, 0.9, 0.4, 0.8, 0.3, 0.2]
    decisions = [
        halving.go_on("0.30", 0, RungScore(f"t{i}", r, 1.0)) for i, r in enumerate(retentions)
    ]
    assert decisions == [True, True, False, True, False, False]


def test_sizes_and_rungs_are_never_compared() -> None:
    halving = Halving(RungSpec(min_trials=2))
    assert halving.go_on("0.15", 0, RungScore("light", 0.99, 1.0))
    assert halving.go_on("0.15", 0, RungScore("light2", 0.98, 0.5))
    assert halving.go_on("0.60", 0, RungScore("heavy", 0.20, 1.0))
    assert halving.go_on("0.15", 1, RungScore("light", 0.10, 2.0))


def test_a_score_that_is_not_finite_stops() -> None:
    halving = Halving(RungSpec())
    assert not halving.go_on("0.30", 0, RungScore("nan", math.nan, 1.0))
    assert halving.go_on("0.30", 0, RungScore("ok", 0.5, 1.0))


def test_a_trial_that_reports_again_is_compared_once() -> None:
    halving = Halving(RungSpec(min_trials=3))
    for _ in range(3):
        assert halving.go_on("0.30", 0, RungScore("resumed", 0.1, 1.0))
