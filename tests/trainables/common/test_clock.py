"""Seconds by stage: nested, entered again, and asked for while a stage is open."""

from __future__ import annotations

import time

import pytest
import torch

from trainables.common.clock import Clock


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock reads; the tests move it on."""
    reads = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: reads[0])
    return reads


def _seconds(clock: Clock, devices: int = 1) -> dict[str, float]:
    return clock.cost(torch.device("cpu"), devices).device_seconds


def test_a_second_counts_for_the_innermost_stage_only(moment: list[float]) -> None:
    clock = Clock()
    moment[0] += 1  # of no stage
    with clock("recover"):
        moment[0] += 2
        with clock("evaluate"):
            moment[0] += 4
        moment[0] += 8
    moment[0] += 16
    with clock("evaluate"):
        moment[0] += 32
    assert _seconds(clock, devices=2) == {"recover": 20.0, "evaluate": 72.0}
    assert clock.cost(torch.device("cpu"), 2).wall_seconds == 63.0


def test_the_cost_so_far_counts_the_stages_that_are_open(moment: list[float]) -> None:
    clock = Clock()
    with clock("recover"):
        moment[0] += 2
        with clock("evaluate"):
            moment[0] += 4
        assert _seconds(clock) == {"recover": 2.0, "evaluate": 4.0}
        moment[0] += 8
    assert _seconds(clock) == {"recover": 10.0, "evaluate": 4.0}


def test_a_stage_that_raises_counts_all_the_same(moment: list[float]) -> None:
    clock = Clock()

    def stop() -> None:
        with clock("recover"):
            moment[0] += 2
            raise SystemExit

    with pytest.raises(SystemExit):
        stop()
    moment[0] += 4
    assert _seconds(clock) == {"recover": 2.0}
