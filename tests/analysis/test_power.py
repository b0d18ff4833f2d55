"""Sample sizes against formulas, and against how often a simulated test sees the difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.trials import make_trial, write_sweep
from scipy import stats

from analysis.load import Trial, load_trials
from analysis.power import pair_spread, power_lines, sample_sizes
from trainables.records import SEARCH_SAMPLES
from trainables.records.score_table import ScoreTable, TaskSamples
from trainables.specs import EvaluationSpec


def trials_of(
    folder: Path, scores: dict[str, np.ndarray], each: int = 1, **kw: float
) -> list[Trial]:
    """Trials that answered one task with `each` questions per image; `kw` are their ratios."""
    made = [make_trial(name, 0.9, ratio=kw.get(name, 0.3)) for name in scores]
    write_sweep(folder, made)
    for name, values in scores.items():
        n = len(values)
        images = tuple(f"i{k // each}" for k in range(n))
        task = TaskSamples(tuple(range(n)), images, values, np.ones(n), ("",) * n)
        ScoreTable({"a": task}).save(folder / "demo" / "trials" / name / SEARCH_SAMPLES)
    return load_trials(folder / "demo")


def test_before_any_trial_the_assumption_is_the_textbooks() -> None:
    spec = EvaluationSpec(search_limit=200, rung_limit=50, report_limit=None)
    search, rung, report = sample_sizes(spec, tasks=5, rungs=True)
    # Two-sided 5 %, power 80 %: 2.8016; standard deviation of one difference: 50 * sqrt(2).
    sd = 50 * np.sqrt(2)
    assert search.detectable == pytest.approx(2.8016 * sd / np.sqrt(5 * 200), rel=1e-4)
    assert rung.detectable == pytest.approx(2 * search.detectable)  # a quarter of the samples
    assert search.needed == pytest.approx((2.8016 * sd) ** 2 / 5, rel=1e-3)
    assert (report.samples, report.detectable, report.needed) == (None, None, search.needed)
    assert [s.use for s in sample_sizes(spec, 5, rungs=False)] == ["search_limit", "report_limit"]
    lines = power_lines((search, rung, report))
    assert lines[0].startswith("search_limit: 6.3 points of the average can be told apart at 200 ")
    assert lines[2] == "report_limit is all samples: 1 point needs 7,900 samples per task."
    assert "upper bound" in lines[3]


def test_a_rung_without_a_limit_of_its_own_is_the_search_splits() -> None:
    _, rung, _ = sample_sizes(EvaluationSpec(search_limit=200), tasks=5, rungs=True)
    assert (rung.use, rung.samples) == ("rung_limit", 200)
    # Nor does a rung ask more than the dense model was scored on.
    spec = EvaluationSpec(search_limit=200, rung_limit=1000)
    assert sample_sizes(spec, tasks=5, rungs=True)[1].samples == 200


def test_the_spread_is_that_of_paired_differences(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one = 100.0 * (rng.random(400) < 0.8)
    other = np.where(rng.random(400) < 0.1, 100.0 - one, one)  # they disagree on a tenth
    trials = trials_of(tmp_path, {"a": one, "b": other})
    spread = pair_spread(trials, "search")
    assert spread is not None
    assert spread.unit == pytest.approx(np.var(other - one, ddof=1))
    assert (spread.samples, spread.images, spread.pairs) == (400, 400, 1)
    assert spread.design_effect == pytest.approx(400 / 399)
    (search, report) = sample_sizes(EvaluationSpec(report_limit=1000), 1, False, trials)
    assert search.samples == 400  # no limit: the tables say how many there are
    assert report.samples == 1000
    assert search.needed == pytest.approx(2.8016**2 * spread.unit, abs=1.1)
    assert search.needed_images == search.needed


def test_questions_about_one_image_count_less(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    one = np.full(600, 100.0)
    lost = 100.0 * (rng.random(150) < 0.8).repeat(4)  # all four questions of an image, or none
    trials = trials_of(tmp_path, {"a": one, "b": lost}, each=4)
    spread = pair_spread(trials, "search")
    assert spread is not None
    assert spread.design_effect == pytest.approx(4, rel=0.02)
    size = sample_sizes(EvaluationSpec(search_limit=100), 1, False, trials)[0]
    assert size.needed_images == pytest.approx(size.needed / 4, abs=1)
    assert "4 times that of independent questions" in power_lines([size])[-1]


def test_pairs_of_one_ratio_come_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    base = 100.0 * (rng.random(500) < 0.9)
    near = np.where(rng.random(500) < 0.02, 100.0 - base, base)
    far = np.where(rng.random(500) < 0.5, 100.0 - base, base)
    trials = trials_of(tmp_path, {"a": base, "b": near, "c": far}, c=0.6)
    spread = pair_spread(trials, "search")
    assert spread is not None
    assert (spread.pairs, spread.unit) == (1, pytest.approx(np.var(near - base, ddof=1)))
    two = pair_spread([trials[0], trials[2]], "search")
    assert two is not None
    assert two.unit == pytest.approx(np.var(far - base, ddof=1))


def test_one_trial_makes_no_pair(tmp_path: Path) -> None:
    assert pair_spread(trials_of(tmp_path, {"a": np.array([0.0, 100.0, 0.0])}), "search") is None
    assert pair_spread([make_trial("a"), make_trial("b")], "search") is None


def test_the_stated_difference_is_seen_four_times_in_five(tmp_path: Path) -> None:
    """1,500 experiments of 300 paired questions whose true difference is the detectable one."""
    rng = np.random.default_rng(3)
    better, worse = 0.12, 0.05  # shares of the questions that only one of the two gets right
    draws = rng.random((1500, 300))
    differences = 100.0 * ((draws < better).astype(float) - (draws > 1 - worse))
    truth = 100 * (better - worse)
    variance = 100**2 * (better + worse - (better - worse) ** 2)
    pvalues = stats.ttest_1samp(differences, 0.0, axis=1).pvalue
    seen = float(np.mean(pvalues < 0.05))
    pilot = rng.random(200_000)
    first, second = 100.0 * (pilot > worse), 100.0 * (pilot <= 1 - better)
    flipped = trials_of(tmp_path, {"a": first, "b": second})
    spread = pair_spread(flipped, "search")
    assert spread is not None
    assert spread.unit == pytest.approx(variance, rel=0.02)
    detectable = sample_sizes(EvaluationSpec(search_limit=300), 1, False, flipped)[0].detectable
    assert detectable is not None
    exact = stats.norm.cdf(truth / np.sqrt(variance / 300) - 1.96)
    assert seen == pytest.approx(exact, abs=0.03)
    assert truth / detectable == pytest.approx(1.05, abs=0.02)  # so a little over 80 %
    assert exact == pytest.approx(0.84, abs=0.02)
