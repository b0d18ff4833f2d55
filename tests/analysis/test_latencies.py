"""Pooled latencies: what is built alike, its spread by hand, and what a frontier makes of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.trials import make_dense, make_trial
from scipy import stats

from analysis.frontier import find_frontier
from analysis.latencies import Latencies
from analysis.load import Trial
from analysis.recommend import recommend


def measured(name: str, retention: float, ms: float, dense_ms: float, ratio: float) -> Trial:
    """A trial whose closing report has that latency, beside one of the dense base."""
    trial = make_trial(name, retention, report=retention, latency_ms=ms, ratio=ratio, se=0.001)
    assert trial.report is not None
    assert trial.report.latency is not None
    latency = trial.report.latency.model_copy(update={"dense_median_ms": dense_ms})
    return replace(trial, report=trial.report.model_copy(update={"latency": latency}))


def test_one_architecture_is_one_latency_with_the_spread_of_all() -> None:
    trials = [
        measured("a", 0.8, 20.0, 40.0, 0.5),
        measured("b", 0.7, 22.0, 44.0, 0.5),
        measured("c", 0.9, 30.0, 36.0, 0.3),
    ]
    found = Latencies.of(trials)
    assert found.milliseconds("a") == found.milliseconds("b") == pytest.approx(math.sqrt(440))
    assert found.milliseconds("c") == pytest.approx(30)
    pair, dense = np.log([20, 22]), np.log([40, 44, 36])
    squares = pair.var() * 2 + dense.var() * 3
    assert found.degrees == 3
    assert found.deviation == pytest.approx(math.sqrt(squares / 3))
    low, high = found.interval("a")
    assert low is not None
    assert high is not None
    half = stats.t.ppf(0.975, 3) * found.deviation / math.sqrt(2)
    assert (math.log(low), math.log(high)) == pytest.approx(
        (pair.mean() - half, pair.mean() + half)
    )


def test_what_was_measured_once_has_no_interval() -> None:
    alone = Latencies.of([measured("a", 0.8, 20.0, 40.0, 0.5)])
    assert alone.interval("a") == (None, None)
    assert Latencies.of([make_trial("a")]).architectures == {}


@pytest.mark.parametrize(
    ("changes", "alike"),
    [({}, True), ({"ratio": 0.6}, False), ({"quantization": "nf4"}, False),
     ({"device": "NVIDIA H200"}, False), ({"data_fraction": 0.1}, True),
     ({"packages": {"torch": "99"}}, False), ({"packages": {"optuna": "99"}}, True)],
)  # fmt: skip
def test_what_decides_a_latency(changes: dict[str, object], alike: bool) -> None:
    found = Latencies.of([
        make_trial("a", report=0.9, latency_ms=20.0, ratio=0.5),
        make_trial("b", report=0.9, latency_ms=30.0, **{"ratio": 0.5, **changes}),  # type: ignore[arg-type]
    ])  # fmt: skip
    assert (found.architectures["a"] == found.architectures["b"]) is alike


def test_a_lucky_measurement_wins_nothing() -> None:
    """The worse of two that are built alike was measured faster."""
    trials = [measured("good", 0.9, 21.0, 40.0, 0.5), measured("lucky", 0.8, 19.0, 40.0, 0.5)]
    front = find_frontier([*trials, make_dense(report=1.0, latency_ms=40.0)], "latency_ms")
    assert [p.trial_id for p in front.points] == ["good", "dense"]
    assert [(p.trial_id, p.standing) for p in front.dominated] == [("lucky", "certainly dominated")]
    within = recommend(trials, max={"latency_ms": 20.0}).trial
    assert within is not None
    assert within.trial_id == "good"


@pytest.mark.parametrize(
    ("spread", "word"), [(0.001, "certainly dominated"), (0.3, "within noise")]
)
def test_a_faster_and_better_point_dominates_beyond_the_noise(spread: float, word: str) -> None:
    trials = [
        measured("fast", 0.9, 20.0, 40.0 * (1 + spread), 0.5),
        measured("slow", 0.8, 24.0, 40.0 / (1 + spread), 0.4),
        make_dense(report=1.0, latency_ms=40.0),
    ]
    front = find_frontier(trials, "latency_ms")
    assert [(p.trial_id, p.standing) for p in front.dominated] == [("slow", word)]
    assert [p.standing for p in find_frontier(trials, "weights_mib").points][-1] == "certain"
