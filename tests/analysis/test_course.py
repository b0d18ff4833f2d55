"""How a search went: shares by hand, and against the frontier's own hypervolume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.ledgers import old_quickstart
from helpers.trials import make_dense, make_trial

from analysis.course import corners, course, in_order
from analysis.frontier import find_frontier
from analysis.load import load_trials


def test_shares_by_hand() -> None:
    """The dense base has 16 MiB; the largest recovery costs 9 TFLOPs, so the corner is 10."""
    trials = [
        make_trial("a", 0.5, weights_mib=8.0, recovery_tflops=9.0, method="layerwise"),
        make_trial("b", 0.4, weights_mib=9.0, recovery_tflops=5.0, method="layerwise"),
        make_trial("lost", status="failed"),
        make_trial("c", 0.8, weights_mib=12.0, recovery_tflops=2.0, method="widthwise"),
    ]
    at = corners([make_dense(), *trials])
    assert at.cells == (("layerwise", 0.3), ("widthwise", 0.3))
    first, second, *rest = course(trials, at)
    assert first.size == pytest.approx((16 - 8) * 0.5 / 16)
    assert first.cost == pytest.approx((10 - 9) * 0.5 / 10 / 2)
    assert second.size == first.size, "b is heavier and worse"
    assert second.cost == pytest.approx(((10 - 9) * 0.5 + (9 - 5) * 0.4) / 10 / 2)
    last = rest[-1]
    assert (last.trials, last.device_hours) == (4, pytest.approx(40 / 3600))
    assert last.size == pytest.approx(((12 - 8) * 0.5 + (16 - 12) * 0.8) / 16)
    assert last.cost == pytest.approx(second.cost + (10 - 2) * 0.8 / 10 / 2)


def test_it_is_the_frontiers_hypervolume_after_every_trial(tmp_path: Path) -> None:
    trials = load_trials(old_quickstart(tmp_path))
    found = course(in_order(trials), corners(trials))
    own = [t for t in in_order(trials) if not t.is_reference]
    dense = [t for t in trials if t.is_dense]
    assert found[-1].trials == len(own)
    for moment in found:
        searched = [replace(t, report=None) for t in own[: moment.trials]]
        front = find_frontier([*dense, *searched], split="search", standing=False)
        assert moment.size == pytest.approx(front.hypervolume_share)


def test_without_a_dense_base_there_is_no_share_of_its_box() -> None:
    trials = [make_trial("a", 0.5)]
    (moment,) = course(trials, corners(trials))
    assert moment.size is None
    assert moment.cost == pytest.approx(0.0), "the corner is its own cost"
    assert course([], corners([])) == ()
