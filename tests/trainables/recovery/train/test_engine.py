"""Which steps are skipped."""

import math

import pytest

from trainables.recovery.train.engine import SETTLED, WINDOW, reason_to_skip, window


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_skipped(loss: float) -> None:
    assert "not finite" in str(reason_to_skip(loss, (), None))


def test_a_spike_is_measured_against_the_median() -> None:
    usual = (1.0,) * (SETTLED - 1) + (100.0,)
    assert reason_to_skip(9.9, usual, 10.0) is None
    assert "above 10 times" in str(reason_to_skip(10.1, usual, 10.0))
    assert reason_to_skip(10.1, usual, None) is None
    assert reason_to_skip(1e9, usual[1:], 10.0) is None, "too few losses to call it a spike"


def test_next_to_nothing_is_no_spike() -> None:
    assert reason_to_skip(1e-5, (0.0,) * SETTLED, 10.0) is None
    assert "above" in str(reason_to_skip(1.0, (0.0,) * SETTLED, 10.0))


def test_the_window_is_bounded() -> None:
    losses: tuple[float, ...] = ()
    for i in range(WINDOW + 7):
        losses = window(losses, float(i))
    assert losses == tuple(float(i) for i in range(7, WINDOW + 7))
