"""What is quoted of a model that was chosen among many: by hand, and where the truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.answered import answered, random_tables
from helpers.trials import make_dense, make_trial
from scipy import stats

from analysis import choice
from analysis.choice import own_errors, quoted, shrunken, steadied
from analysis.frontier import find_frontier
from analysis.load import Trial
from analysis.recommend import recommend
from analysis.standing import HalfWidths


def test_intervals_hold_for_all_models_together() -> None:
    """Bonferroni among three, by the record's own ends; references count, repeats do not."""
    one = make_trial("a", 0.80, report=0.8)
    assert one.report is not None
    skewed = one.report.evaluation.model_copy(
        update={"retention_low": 0.77, "retention_high": 0.82}
    )
    trials = [
        replace(one, report=one.report.model_copy(update={"evaluation": skewed})),
        make_trial("b", 0.5, report=0.5, se=0.02),
        make_trial("native", 0.7, report=0.7, origin="reference"),
        make_trial("again", 0.99, report=0.99, origin="confirm", seed=1),
        make_trial("search only", 0.99),
        make_dense(report=1.0),
    ]
    found = quoted(trials, "report")
    assert set(found) == {"a", "b", "native"}
    stretch = stats.norm.ppf(1 - 0.05 / 6) / stats.norm.ppf(0.975)
    assert found["a"]["retention_low"] == pytest.approx(0.8 - 0.03 * stretch)
    assert found["a"]["retention_high"] == pytest.approx(0.8 + 0.02 * stretch)
    half = found["b"]["retention_high"] - 0.5
    assert half == pytest.approx(stretch * 1.96 * 0.02)
    front = find_frontier(trials)
    shown = {p.trial_id: p for p in (*front.points, *front.dominated)}
    assert shown["a"].retention_low == found["a"]["retention_low"]
    assert (shown["dense"].retention_low, shown["dense"].retention_corrected) == (1.0, 1.0)
    best = recommend(trials).trial
    assert best is not None
    assert (best.retention_corrected, best.retention_low) == (
        shown["a"].retention_corrected,
        shown["a"].retention_low,
    )


def test_few_images_stretch_by_students_t() -> None:
    def with_images(trial: Trial, images: int) -> Trial:
        assert trial.record.evaluation is not None
        tasks = {
            name: task.model_copy(update={"images": images})
            for name, task in trial.record.evaluation.tasks.items()
        }
        scores = trial.record.evaluation.model_copy(update={"tasks": tasks})
        return replace(trial, record=trial.record.model_copy(update={"evaluation": scores}))

    trials = [with_images(make_trial(name, 0.8), 11) for name in "ab"]
    ratio = stats.t.ppf(1 - 0.05 / 4, 10) / stats.t.ppf(0.975, 10)
    assert quoted(trials, "search")["a"]["retention_high"] == pytest.approx(0.8 + ratio * 0.0196)


def test_lone_and_exact_values_stay_and_equal_ones_meet() -> None:
    errors = np.full(6, 0.01)
    values = np.array([0.30, 0.895, 0.90, 0.905, 0.91, 0.89])
    found = shrunken(values, errors)
    assert found[0] == pytest.approx(0.30, abs=1e-6)
    assert np.abs(found[1:] - 0.90).max() < 0.005  # were up to 0.01 away
    assert np.all(np.diff(found[np.argsort(values)]) >= 0)
    assert shrunken(values, np.zeros(6)) == pytest.approx(values)
    assert shrunken(values[:1], errors[:1]) == pytest.approx(values[:1])


def test_more_values_than_atoms_come_out_as_if_all_were_atoms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([0.6, 0.8, 0.83], 300) + 0.01 * rng.normal(size=300)
    errors = np.full(300, 0.01)
    exact = shrunken(values, errors)
    monkeypatch.setattr(choice, "ATOMS", 150)
    apart = np.abs(shrunken(values, errors) - exact)
    assert apart.mean() < 0.001
    assert apart.max() < 0.01


def test_own_errors_are_without_what_models_share(tmp_path: Path) -> None:
    """Of two models it is that of their difference over root 2; a shared luck does not count."""
    tables = random_tables(np.random.default_rng(0))
    trials = answered(tmp_path, tables, {"best": 6.0, "near": 7.0, "far": 8.0})
    pair = [t for t in trials if t.trial_id in ("best", "near")]
    (half,) = HalfWidths.of(pair, "report").between(np.array([0]), np.array([1]))[0]
    apart = half / stats.t.ppf(0.975, 299)
    assert own_errors(pair, "report") == pytest.approx([apart / np.sqrt(2)] * 2, rel=1e-3)
    without = [replace(t, folder=None) for t in pair]
    assert own_errors(without, "report").tolist() == [t.retention("report")[1] for t in pair]


def test_the_best_of_twenty_equal_models_is_quoted_as_it_is() -> None:
    """Errors of 1 point: the best looks 1.9 points better than it is, as the order statistic says.

    `tests/benchmarks/statistics.py` does it with questions and images.
    """
    rng, errors, corrected, held, alone = np.random.default_rng(0), [], [], 0, 0
    for _ in range(150):
        values = 0.9 + 0.01 * rng.normal(size=20)
        best = recommend([make_trial(f"t{i}", float(v)) for i, v in enumerate(values)]).trial
        assert best is not None
        errors.append(100 * (best.retention - 0.9))
        corrected.append(100 * (best.retention_corrected - 0.9))
        held += best.retention_low <= 0.9 <= best.retention_high
        alone += abs(best.retention - 0.9) <= 0.0196
    assert np.mean(errors) == pytest.approx(1.87, abs=0.15)
    assert abs(np.mean(corrected)) < 0.4
    assert alone / 150 < 0.75
    assert held / 150 >= 0.93


def test_an_error_is_that_of_those_that_score_alike_within_half_of_itself() -> None:
    values = np.array([0.90, 0.91, 0.92, 0.50])
    errors = np.array([0.010, 0.014, 0.006, 0.030])
    alike = np.sqrt((0.010**2 + 0.014**2 + 0.006**2) / 3)
    assert steadied(values, errors) == pytest.approx([alike, alike, 1.5 * 0.006, 0.030])
    assert steadied(values, np.zeros(4)).tolist() == [0.0] * 4
