"""Bootstrap intervals against scipy's, a paired t, their own coverage, and cases known by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from trainables.evaluation.bootstrap import (
    Floats,
    TaskColumns,
    _expansion,
    _strata,
    interval,
    resampled_scores,
)


def drawn(tasks: list[TaskColumns], resamples: int = 2000, seed: int = 0) -> Floats:
    found = resampled_scores(tasks, resamples, seed)
    assert found is not None
    return found


def difference(tasks: list[TaskColumns], resamples: int = 2000) -> tuple[float, float]:
    """Interval of the second model's average minus the first's."""
    averages = drawn(tasks, resamples).mean(axis=-1)
    return interval(averages[:, 1] - averages[:, 0])


def paired_task(
    rng: np.random.Generator, images: int, dense: float, student: float, prefix: str = ""
) -> TaskColumns:
    """Questions on `images` images (1 to 5 each) whose true accuracies are known, in 0..1."""
    image = np.repeat(np.arange(images), rng.integers(1, 6, size=images))
    hard = np.sqrt(0.5) * (rng.normal(size=images)[image] + rng.normal(size=image.size))
    other = 0.8 * hard + 0.6 * rng.normal(size=image.size)
    right = [hard < stats.norm.ppf(dense), other < stats.norm.ppf(student)]
    return TaskColumns(
        [f"{prefix}{i}" for i in image], np.ones(image.size), 100.0 * np.stack(right)
    )


def test_it_is_scipys_percentile_interval_spread_by_the_stated_factor() -> None:
    task = paired_task(np.random.default_rng(0), 60, 0.8, 0.6)
    found, cluster = np.unique(task.images, return_inverse=True)
    sums = [np.bincount(cluster, weights=w) for w in (*task.scores, task.weights)]

    def statistic(dense: Floats, student: Floats, count: Floats, axis: int) -> Floats:
        return (student.sum(axis) - dense.sum(axis)) / count.sum(axis)

    theirs = stats.bootstrap(
        sums, statistic, paired=True, vectorized=True, n_resamples=20_000, method="percentile",
        rng=1,
    ).confidence_interval  # fmt: skip
    estimate = np.diff(task.scores.mean(axis=1))[0]
    factor = np.sqrt(60 / 59) * stats.t.ppf(0.975, 59) / stats.norm.ppf(0.975)
    assert _expansion(60) == pytest.approx(factor)
    expected = [estimate + factor * (end - estimate) for end in theirs]
    assert difference([task], 20_000) == pytest.approx(expected, abs=0.15)
    assert len(found) == 60


def test_equal_clusters_give_the_interval_of_a_paired_t() -> None:
    rng = np.random.default_rng(3)
    images, each = 150, 4
    ids = [str(i) for i in np.repeat(np.arange(images), each)]
    base = rng.normal(60, 8, size=images).repeat(each) + rng.normal(0, 8, size=images * each)
    student = base - 3 + rng.normal(0, 5, size=images).repeat(each)
    task = TaskColumns(ids, np.ones(images * each), np.stack([base, student]))
    means = (student - base).reshape(images, each).mean(axis=1)
    exact = stats.ttest_1samp(means, 0.0).confidence_interval(0.95)
    low, high = difference([task], 8000)
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.06)
    # Taken for independent samples, the same questions would pretend to know it far better.
    naive = 2 * 1.96 * np.std(student - base) / np.sqrt(images * each)
    assert high - low > 1.7 * naive


@pytest.mark.parametrize(("images", "dense", "student"), [(40, 0.7, 0.6), (120, 0.95, 0.88)])
def test_95_percent_intervals_hold_the_truth_about_95_times_in_100(
    images: int, dense: float, student: float
) -> None:
    rng = np.random.default_rng(11)
    hits, ratio_hits, runs = 0, 0, 300
    for _ in range(runs):
        tasks = [paired_task(rng, images, dense, student, p) for p in ("a", "b")]
        averages = drawn(tasks, 600).mean(axis=-1)
        low, high = interval(averages[:, 1] - averages[:, 0])
        hits += low <= 100 * (student - dense) <= high
        low, high = interval(averages[:, 1] / averages[:, 0])
        ratio_hits += low <= student / dense <= high
    assert 0.91 <= hits / runs <= 0.98
    assert 0.91 <= ratio_hits / runs <= 0.98


def test_tasks_with_shared_images_move_together_and_others_do_not() -> None:
    rng = np.random.default_rng(5)
    first = paired_task(rng, 200, 0.8, 0.6)
    twin = TaskColumns([f"other {i}" for i in first.images], first.weights, first.scores)

    def width(tasks: list[TaskColumns]) -> float:
        low, high = difference(tasks, 8000)
        return high - low

    alone = width([first])
    assert width([first, first]) == pytest.approx(alone)  # the same draws: no new information
    assert width([first, twin]) == pytest.approx(alone / np.sqrt(2), rel=0.05)


def test_strata_are_the_tasks_that_share_images() -> None:
    assert _strata([["a"], ["b"], ["c", "a"], ["d", "c"]]) == [[0, 2, 3], [1]]


def test_a_small_benchmark_is_never_crowded_out() -> None:
    """Drawn together with 3,000 other images, its twelve would be 5 or 20 of a draw."""
    rng = np.random.default_rng(7)
    large = paired_task(rng, 3000, 0.8, 0.6, "large")
    scores = np.stack([np.full(12, 50.0), 100.0 * (np.arange(12) % 2)])
    small = TaskColumns([f"small {i}" for i in range(12)], np.ones(12), scores)
    both, alone = drawn([large, small]), drawn([small])
    assert np.isfinite(both).all()
    assert interval(both[:, 1, 1]) == pytest.approx(interval(alone[:, 1, 0]), abs=5)


def test_a_draw_without_a_tasks_images_keeps_its_score() -> None:
    many = TaskColumns([str(i) for i in range(50)], np.ones(50), np.zeros((1, 50)))
    rare = TaskColumns(["0"], np.ones(1), np.array([[40.0]]))
    assert np.all(drawn([many, rare])[:, 0, 1] == 40.0)


def test_weights_count() -> None:
    images = [str(i) for i in range(40)]
    weights = np.where(np.arange(40) < 20, 3.0, 1.0)
    scores = np.where(np.arange(40) < 20, 80.0, 20.0)[None]
    draws = drawn([TaskColumns(images, weights, scores)])
    assert draws.mean() == pytest.approx((3 * 80 + 20) / 4, abs=0.5)


def test_nothing_varies_nothing_is_drawn() -> None:
    images = [str(i) for i in range(30)]
    same = TaskColumns(images, np.ones(30), np.tile(100.0 * (np.arange(30) % 3 == 0), (2, 1)))
    assert difference([same]) == (0.0, 0.0)
    perfect = TaskColumns(images, np.ones(30), np.full((2, 30), 100.0))
    assert np.all(drawn([perfect]) == 100.0)


def test_one_image_tells_nothing() -> None:
    assert resampled_scores([TaskColumns(["x", "x"], np.ones(2), np.array([[0.0, 100.0]]))]) is None


def test_draws_depend_on_seed_and_images_alone() -> None:
    task = paired_task(np.random.default_rng(1), 50, 0.8, 0.6)
    order = np.random.default_rng(2).permutation(len(task.images))
    mixed = TaskColumns([task.images[i] for i in order], task.weights[order], task.scores[:, order])
    np.testing.assert_array_equal(drawn([task]), drawn([task]))
    np.testing.assert_allclose(drawn([mixed]), drawn([task]))
    assert not np.array_equal(drawn([task], seed=1), drawn([task]))


def test_ten_thousand_images_and_six_tasks_take_seconds() -> None:
    rng = np.random.default_rng(0)
    tasks = [
        TaskColumns(
            [f"{t}:{i}" for i in range(10_000)], np.ones(10_000), 100.0 * rng.random((2, 10_000))
        )
        for t in range(6)
    ]
    start = time.process_time()
    assert drawn(tasks).shape == (2000, 2, 6)
    assert time.process_time() - start < 6  # 1 s measured; slow and busy machines too
