"""Loss mixtures whose retentions are made up, so that every answer is known beforehand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.trials import DENSE_AVERAGE, make_dense, make_trial

from analysis.effects.configurations import configurations, image_influences, question_errors
from analysis.effects.mixtures import coefficient_effects, mixture_report
from analysis.load import Trial
from trainables.records import REPORT_SAMPLES
from trainables.records.clusters import clustered_error
from trainables.records.score_table import ScoreTable, TaskSamples

CE, KL = {"alpha": 1.0}, {"alpha": 0.0, "beta": 1.0, "logits": "kl"}
CE_KL = {"alpha": 0.5, "beta": 0.5, "logits": "kl"}
CE_L2 = {"alpha": 0.5, "gamma": 0.5}


def repeats(name: str, loss: dict[str, float], retentions: list[float]) -> list[Trial]:
    """The search's trial of a mixture, and repeats with these report-split retentions."""
    return [
        make_trial(name, 0.7, loss=loss),
        *(
            make_trial(f"{name}-{seed}", 0.6, loss=loss, origin="confirm", seed=seed, report=value)
            for seed, value in enumerate(retentions, start=1)
        ),
    ]


def test_trials_that_differ_in_seeds_or_rungs_alone_are_one_configuration() -> None:
    trials = [*repeats("a", CE, [0.5, 0.6]), make_trial("b", loss=KL), make_dense()]
    rungs = trials[0].record.spec.model_copy(update={"rungs": (0.5,)})
    record = trials[0].record.model_copy(update={"spec": rungs})
    found = configurations([replace(trials[0], record=record), *trials[1:]])
    assert [[t.trial_id for t in c.trials] for c in found] == [["a", "a-1", "a-2"], ["b"]]
    assert sorted(found[0].confirmations) == [1, 2]
    assert found[0].first.trial_id == "a"
    assert found[0].mean("search") == pytest.approx((0.7 + 0.6 + 0.6) / 3)


def test_the_best_and_its_equals_by_hand() -> None:
    trials = [
        *repeats("ce", CE, [0.80, 0.82, 0.84]),
        *repeats("ce+kl", CE_KL, [0.81, 0.82, 0.86]),
        *repeats("ce+l2", CE_L2, [0.60, 0.62, 0.64]),
        make_trial("kl", 0.9, loss=KL),
        make_dense(report=1.0),
    ]
    report = mixture_report(trials)
    assert [m.point.terms for m in report.confirmed] == ["ce+kl", "ce", "ce+l2"]
    assert [m.retention for m in report.confirmed] == pytest.approx([0.83, 0.82, 0.62])
    assert [m.behind for m in report.confirmed] == pytest.approx([0.0, 0.01, 0.21])
    # Left over when row and column means are taken out, in points: (0, 1, -1) / 3, (0, -2, 2) / 3
    # and (0, 1, -1) / 3. The squares sum to 12 / 9, over 4 degrees of freedom.
    deviation = math.sqrt(12 / 9 / 4) / 100
    assert report.seed_deviation == pytest.approx(deviation)
    # Studentised range, 3 means, 4 degrees: 5.040.
    assert report.confirmed[1].margin == pytest.approx(5.040 * deviation / math.sqrt(3), rel=1e-3)
    assert [m.tied for m in report.confirmed] == [True, True, False]
    assert report.best is not None
    assert report.best.point.terms == "ce+kl"
    assert [m.point.terms for m in report.tied] == ["ce"]
    assert not report.questions
    assert report.points[0].terms == "kl", "by the search split, it is the best and unconfirmed"


def test_seeds_that_one_mixture_lacks_are_not_compared() -> None:
    trials = [*repeats("ce", CE, [0.8, 0.8, 0.8]), *repeats("ce+kl", CE_KL, [0.9, 0.9])]
    assert [m.seeds for m in mixture_report(trials).confirmed] == [2, 2]
    assert mixture_report(trials[:-1]).confirmed == (), "one seed is no evidence"
    lonely = [*trials, *repeats("ce+l2", CE_L2, [0.7])]
    assert len(mixture_report(lonely).confirmed) == 2, "and takes no evidence from the others"


def test_before_the_confirm_stage_there_is_no_best() -> None:
    report = mixture_report([make_trial("a", loss=CE), make_dense()])
    assert report.best is None
    assert report.effects == ()
    assert mixture_report([]).points == ()


def test_effects_of_terms_and_ratios_are_recovered() -> None:
    """Retention = 50 + 3 CE + 2 KL - 4 L2 + 0.5 log2(beta / alpha) + noise of known size."""
    rng = np.random.default_rng(0)
    trials = []
    for number in range(60):
        alpha, beta, gamma = rng.integers(0, 2, size=3) * 2.0 ** rng.uniform(-3, 3, size=3)
        if alpha == beta == gamma == 0:
            continue
        points = 50 + 3 * (alpha > 0) + 2 * (beta > 0) - 4 * (gamma > 0) + rng.normal(0, 0.1)
        if alpha and beta:
            points += 0.5 * math.log2(beta / alpha)
        loss: dict[str, Any] = {"alpha": alpha, "beta": beta, "gamma": gamma, "logits": "kl"}
        trials.append(make_trial(f"t{number}", points / 100, loss=loss))
    effects = {e.name: e for e in coefficient_effects(configurations(trials))}
    truth = {"ce active": 3, "kl active": 2, "l2 active": -4, "log2 beta/alpha": 0.5,
             "log2 gamma/alpha": 0, "log2 gamma/beta": 0}  # fmt: skip
    assert effects.keys() == truth.keys()
    for name, value in truth.items():
        assert effects[name].estimate == pytest.approx(value, abs=0.15)
        assert effects[name].high - effects[name].low < 0.5
    assert effects["kl active"].runs == sum(t.weights[1] > 0 for t in trials)


def scored(trial: Trial, folder: Path, scores: np.ndarray) -> Trial:
    """The trial with per-sample scores of two tasks over shared images in its folder."""
    folder.mkdir()
    images = tuple(f"image-{i // 2}" for i in range(scores.shape[1]))
    tasks = {
        name: TaskSamples(
            doc_ids=tuple(range(len(row))),
            image_ids=images,
            scores=row,
            weights=np.linspace(1, 2, len(row)),
            answers=("a",) * len(row),
        )
        for name, row in zip(("gqa", "pope"), scores, strict=True)
    }
    ScoreTable(tasks).save(folder / REPORT_SAMPLES)
    return replace(trial, folder=folder)


def test_influences_are_those_that_standard_errors_are_made_of(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).integers(0, 2, size=(2, 20)) * 100.0
    trial = scored(make_trial("a", report=0.5), tmp_path / "a", scores)
    found = image_influences(trial)
    assert found is not None
    table = ScoreTable.load(tmp_path / "a" / REPORT_SAMPLES)
    influences = np.concatenate([s.influences for s in table.tasks.values()]) / 2
    images = [image for s in table.tasks.values() for image in s.image_ids]
    expected = clustered_error(images, influences) / DENSE_AVERAGE
    sums = np.array(list(found.values()))
    assert np.sqrt(10 / 9 * np.square(sums).sum()) == pytest.approx(expected)
    assert image_influences(make_trial("b", report=0.5)) is None


def test_questions_that_both_answer_alike_make_no_difference(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    same = rng.integers(0, 2, size=(2, 20)) * 100.0
    other = rng.integers(0, 2, size=(2, 20)) * 100.0
    trials = [
        scored(make_trial(name, report=0.5), tmp_path / name, scores)
        for name, scores in (("a", same), ("b", same), ("c", other))
    ]
    errors = question_errors([[t] for t in trials])
    assert errors is not None
    assert errors[0, 1] == 0.0
    assert errors[0, 2] == errors[2, 0] == errors[1, 2] > 0.02
    assert question_errors([trials[:2], trials[2:]])[0, 1] == pytest.approx(errors[0, 2])  # type: ignore[index]
    assert question_errors([[make_trial("d", report=0.5)], trials[:1]]) is None


def test_the_best_of_two_that_are_as_good_is_quoted_as_both() -> None:
    """They lie 0.3 points apart with errors of 0.9, a third lies far below."""
    trials = [
        *repeats("ce", CE, [0.80, 0.82, 0.84]),
        *repeats("ce+kl", CE_KL, [0.82, 0.80, 0.85]),
        *repeats("ce+l2", CE_L2, [0.60, 0.62, 0.64]),
    ]
    first, second, last = mixture_report(trials).confirmed
    both = (0.82 + 2.47 / 3) / 2
    assert (first.corrected, second.corrected) == pytest.approx((both, both), abs=0.0005)
    assert (first.retention, last.corrected) == pytest.approx((2.47 / 3, 0.62))


def test_the_choice_of_questions_widens_the_margin(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    trials = [
        *repeats("ce", CE, [0.80, 0.82, 0.85]),
        *repeats("ce+kl", CE_KL, [0.81, 0.82, 0.86]),
    ]
    with_samples = [
        scored(t, tmp_path / t.trial_id, rng.integers(0, 2, size=(2, 40)) * 100.0) for t in trials
    ]
    narrow, wide = mixture_report(trials), mixture_report(with_samples)
    assert (narrow.questions, wide.questions) == (False, True)
    assert wide.confirmed[1].margin > 1.5 * narrow.confirmed[1].margin > 0
