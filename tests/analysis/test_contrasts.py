"""Intervals against tables, hand computations and simulated data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.contrasts import (
    all_pairs_factor,
    deviation_interval,
    paired_layout,
    regression,
    t_factor,
    without_each,
)


def test_factors_equal_the_printed_tables() -> None:
    assert t_factor(10) == pytest.approx(2.228, abs=5e-4)
    assert t_factor(10, among=5) == pytest.approx(3.169, abs=5e-4)  # t at 0.995
    # Studentised range, 3 means, 10 degrees of freedom: 3.877; two means give Student's t.
    assert all_pairs_factor(3, 10) == pytest.approx(3.877 / np.sqrt(2), abs=1e-3)
    assert all_pairs_factor(2, 10) == pytest.approx(t_factor(10), abs=1e-3)


def test_two_configurations_are_the_paired_t_test() -> None:
    values = np.array([[1.0, 3.0, 4.0, 8.0], [2.0, 3.5, 6.0, 8.5]])
    layout = paired_layout(values)
    difference = layout.means[1] - layout.means[0]
    error = layout.deviation * np.sqrt(2 / layout.seeds)
    expected = stats.ttest_rel(values[1], values[0])
    assert difference / error == pytest.approx(expected.statistic)
    assert layout.degrees == expected.df


def test_what_seeds_share_is_no_noise() -> None:
    # Configuration effects 0, 1, 5 and seed effects 0, 10, 20 add up: nothing is left over.
    values = np.add.outer([0.0, 1.0, 5.0], [0.0, 10.0, 20.0])
    layout = paired_layout(values)
    assert layout.means == pytest.approx((10.0, 11.0, 15.0))
    assert layout.deviation == pytest.approx(0.0, abs=1e-12)
    assert layout.within == pytest.approx(10.0)
    assert layout.degrees == 4


def test_a_table_without_noise_to_judge_by_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two configurations with at least two seeds"):
        paired_layout(np.ones((3, 1)))


def test_simultaneous_intervals_cover_the_difference_to_the_best() -> None:
    """400 tables of 6 equal configurations x 3 seeds: the best looks better in 5 % of them."""
    rng = np.random.default_rng(0)
    wrong_together = wrong_alone = 0
    for _ in range(400):
        layout = paired_layout(rng.normal(size=(6, 3)) + rng.normal(size=3))
        behind = max(layout.means) - np.array(layout.means)
        error = layout.deviation * np.sqrt(2 / 3)
        wrong_together += bool((behind > all_pairs_factor(6, layout.degrees) * error).any())
        wrong_alone += bool((behind > t_factor(layout.degrees) * error).any())
    assert 0.02 <= wrong_together / 400 <= 0.08
    assert wrong_alone / 400 > 0.2, "unadjusted intervals fail, so the test can tell"


def test_deviation_and_its_interval_by_hand() -> None:
    deviation, low, high = deviation_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert deviation == pytest.approx(np.sqrt(2.5))
    # Chi-squared quantiles at 4 degrees of freedom: 11.143 and 0.4844.
    assert low == pytest.approx(np.sqrt(10 / 11.143), rel=1e-3)
    assert high == pytest.approx(np.sqrt(10 / 0.4844), rel=1e-3)


def test_regression_recovers_exact_coefficients() -> None:
    rng = np.random.default_rng(1)
    columns = rng.normal(size=(30, 2))
    values = 7.0 + columns @ [2.0, -0.5]
    effects = regression(["a", "b"], columns, values, [str(i) for i in range(30)])
    assert [e.estimate for e in effects] == pytest.approx([2.0, -0.5])
    assert [e.high - e.low for e in effects] == pytest.approx([0.0, 0.0], abs=1e-9)


def test_intervals_of_the_regression_cover_and_repeats_are_no_new_evidence() -> None:
    """300 data sets of 15 configurations run twice; noise belongs to the configuration."""
    rng = np.random.default_rng(2)
    covered = 0
    widths = []
    for _ in range(300):
        x = rng.integers(0, 2, size=15).astype(float)
        once = 3.0 * x + rng.normal(size=15)
        clusters = [str(i) for i in range(15)]
        effects = regression(["x"], np.tile(x, 2)[:, None], np.tile(once, 2), clusters * 2)
        if not effects:
            continue
        (effect,) = effects
        covered += effect.low <= 3.0 <= effect.high
        (single,) = regression(["x"], x[:, None], once, clusters)
        widths.append((effect.high - effect.low) / (single.high - single.low))
    assert covered / len(widths) == pytest.approx(0.95, abs=0.03)
    assert widths == pytest.approx([1.0] * len(widths))


def test_columns_that_cannot_be_estimated_are_left_out() -> None:
    rng = np.random.default_rng(3)
    a = rng.integers(0, 2, size=12).astype(float)
    rare = np.zeros(12)
    rare[:2] = 1.0
    columns = np.column_stack([a, 1 - a, rare, np.ones(12)])
    effects = regression(
        ["a", "not a", "rare", "constant"], columns, rng.normal(size=12), list("abcdefghijkl")
    )
    assert [e.name for e in effects] == ["a"]
    assert regression(["a"], a[:3, None], a[:3], list("abc")) == ()


def test_the_jackknife_is_that_of_fitswithout_each_cluster() -> None:
    """Against fitting again, repeats and a cluster that alone shows a column among them."""
    rng = np.random.default_rng(3)
    columns = rng.normal(size=(40, 3))
    columns[:, 2] = 0
    columns[0, 2] = 1
    clusters = np.array([f"c{i // 2}" for i in range(40)])
    values = columns[:, :2] @ [1.0, -2.0] + rng.normal(size=40)
    design = np.column_stack([np.ones(40), columns])
    labels = np.unique(clusters)
    fit = np.linalg.lstsq(design, values, rcond=None)[0]
    found = without_each(design, values, clusters, labels, fit)
    again = [
        np.linalg.lstsq(design[clusters != g], values[clusters != g], rcond=None)[0] for g in labels
    ]
    assert found == pytest.approx(np.array(again), abs=1e-9)
