"""Curves of loss shares: a known quadratic comes back, and trials that say nothing say nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers.trials import make_dense, make_trial

from analysis.draw.curves_figure import curves_figure
from analysis.effects.weight_curves import FEWEST, weight_curves
from analysis.load import Trial


def trial(name: str, beta: float, gamma: float, retention: float, ratio: float) -> Trial:
    loss = {"alpha": round(1 - beta - gamma, 9), "beta": beta, "gamma": gamma, "logits": "kl"}
    return make_trial(name, retention, loss=loss, ratio=ratio)


def truth(beta: float, gamma: float) -> float:
    """Points: the best share of logits is a half, hidden states only harm."""
    return 4 * beta - 4 * beta**2 - 2 * gamma


def trials(noise: float = 0.0) -> list[Trial]:
    rng = np.random.default_rng(2)
    found = [make_dense()]
    shares = (0.0, 0.2, 0.4, 0.6, 0.8)
    for beta, gamma, ratio in itertools.product(shares, (0.0, 0.1, 0.2), (0.3, 0.6)):
        base = {0.3: 0.9, 0.6: 0.6}[ratio]
        value = base + (truth(beta, gamma) + noise * rng.normal()) / 100
        found.append(trial(f"{beta}-{gamma}-{ratio}", beta, gamma, value, ratio))
    return found


def test_a_quadratic_comes_back() -> None:
    """Averaged over the shares of hidden states, which give way where no other can."""
    curves = {curve.term: curve for curve in weight_curves(trials())}
    logits = curves["logits"]
    assert (logits.shares[0], logits.shares[-1]) == (0.0, pytest.approx(0.8))
    for share, points, low, high in zip(
        logits.shares, logits.points, logits.low, logits.high, strict=True
    ):
        known = [truth(share, min(g, 1 - share)) - truth(0, g) for g in (0.0, 0.1, 0.2)]
        assert points == pytest.approx(np.mean(known), abs=1e-6)
        assert high - low < 1e-6
    assert curves["hidden states"].points[-1] < curves["hidden states"].points[0] == 0


def test_noise_widens_the_bands_which_hold_the_truth() -> None:
    exact = {curve.term: curve for curve in weight_curves(trials())}["logits"]
    noisy = {curve.term: curve for curve in weight_curves(trials(noise=0.5))}["logits"]
    inside = [
        low <= known <= high
        for known, low, high in zip(exact.points, noisy.low, noisy.high, strict=True)
    ]
    assert sum(inside) >= 0.9 * len(inside)
    assert 0.1 < noisy.high[-1] - noisy.low[-1] < 3


def test_the_picture_has_a_line_and_a_band_for_each() -> None:
    from plotly.graph_objects import Figure

    curves = weight_curves(trials(noise=0.5))
    figure = Figure(curves_figure(curves))  # it raises on an unknown property
    lines = [trace for trace in figure.data if trace.showlegend is None]
    assert [trace.y[-1] for trace in lines] == [curve.points[-1] for curve in curves]
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    for band, curve in zip(bands, curves, strict=True):
        assert (min(band.y), max(band.y)) == (min(curve.low), max(curve.high))


def test_too_few_trials_have_no_curves() -> None:
    assert weight_curves([]) == ()
    assert weight_curves(trials()[: FEWEST - 2]) == ()
    same = [trial(f"t{i}", 0.5, 0.0, 0.8 + i / 1000, 0.3) for i in range(20)]
    assert weight_curves(same) == (), "a mixture that never varies"
