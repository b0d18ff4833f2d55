"""The effects of any sweep's factors: pairs by hand, a fit against known ones, what is not told."""

from __future__ import annotations

import json
import math
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.answered import table
from helpers.trials import make_dense, make_trial, write_sweep
from rich.console import Console
from scipy import stats

from analysis.effects.effect_texts import effects_summary, show_effects
from analysis.effects.factor_effects import FactorEffect, FactorReport, factor_report
from analysis.load import Trial, load_trials
from analysis.output.effect_files import find_effects, write_effects
from sweeps.engine.spec.ledger import Request
from trainables.common.files import write_json
from trainables.records import REQUEST, SEARCH_SAMPLES, TRAINED_SAMPLES

Asked = dict[str, Any]
IMAGES = 40


def laid(folder: Path, trials: list[tuple[Trial, Asked, Asked]]) -> Path:
    """A sweep whose trials were asked for by these cells and searched factors."""
    home = write_sweep(folder, [make_dense(), *(trial for trial, _, _ in trials)])
    for trial, cell, params in trials:
        record = trial.record
        request = Request(
            trial_id=trial.trial_id, index=0, origin=record.origin, key=trial.trial_id,
            spec=record.spec, cell=cell, params=params,
        )  # fmt: skip
        write_json(home / "trials" / trial.trial_id / REQUEST, request)
    return home


def by_name(report: FactorReport) -> dict[tuple[str, str], FactorEffect]:
    return {(e.factor, e.level): e for e in report.effects}


def trained(name: str, retention: float, decay: float = 0.0, **changes: Any) -> Trial:
    changes = {"recovery_settings": {"weight_decay": decay}, **changes}
    return make_trial(name, retention, **changes)


def two_by_two(folder: Path) -> Path:
    """Two methods, each with and without decay, and without recovery."""
    found = []
    values = {"layerwise": (0.90, 0.94, 0.5), "widthwise": (0.80, 0.82, 0.7)}
    for method, (plain, decayed, none) in values.items():
        cell = {"method": method, "ratio": 0.3}
        for decay, retention in ((0.0, plain), (0.1, decayed)):
            trial = trained(f"{method}-{decay}", retention, decay, method=method)
            asked = {"scope": "joint", "terms": "ce", "recovery.weight_decay": decay}
            found.append((trial, cell, asked))
        bare = make_trial(f"{method}-none", none, method=method, scope="none")
        found.append((bare, cell, {"scope": "none", "recovery.weight_decay": 0.0}))
    return laid(folder, found)


def test_pairs_differ_in_one_factor_alone(tmp_path: Path) -> None:
    report = find_effects(two_by_two(tmp_path))
    assert isinstance(report, FactorReport)
    found = by_name(report)
    decay = found["recovery.weight_decay", "0.1"]
    assert (decay.against, decay.pairs, decay.effect.runs) == ("0", 2, 4)
    assert decay.effect.estimate == pytest.approx((4 + 2) / 2)
    assert (decay.least, decay.most) == (pytest.approx(2), pytest.approx(4))
    # Joint with a decay of 0 against none, each method; `terms` is asked of one of them only.
    scope = found["scope", "none"]
    assert scope.pairs == 2
    assert scope.effect.estimate == pytest.approx((-40 - 10) / 2)
    method = found["method", "widthwise"]
    assert method.pairs == 3
    assert method.effect.estimate == pytest.approx((-10 - 12 + 20) / 3)
    assert {e.factor for e in report.effects} == {"scope", "method", "recovery.weight_decay"}
    assert report.untold == (), "terms and ratio have one level"
    # Samples were not kept: the mean of the pairs' errors, three intervals together.
    half = stats.norm.ppf(1 - 0.05 / 6) * 100 * math.hypot(0.01, 0.01)
    assert decay.effect.high - decay.effect.low == pytest.approx(2 * half)
    assert [e.told for e in report.effects] == [True, False, False]
    assert effects_summary(report).startswith(
        "What mattered: scope none against joint (-25.0 points). Not told apart from no effect: "
    )


def test_their_intervals_are_those_of_a_paired_t_over_images(tmp_path: Path) -> None:
    """With samples, a mean of two pairs is a mean over images of a mean of differences."""
    home, rng = two_by_two(tmp_path), np.random.default_rng(0)
    scores = {}
    for trial in load_trials(home):
        if not trial.is_reference:
            scores[trial.trial_id] = 100.0 * (rng.random(IMAGES) < 0.7)
            answers = table(a=np.repeat(scores[trial.trial_id], 2))
            answers.save(home / "trials" / trial.trial_id / SEARCH_SAMPLES)
    report = factor_report(load_trials(home))
    effect = by_name(report)["recovery.weight_decay", "0.1"].effect
    each = [scores[f"{m}-0.1"] - scores[f"{m}-0.0"] for m in ("layerwise", "widthwise")]
    error = stats.sem(np.mean(each, axis=0)) / 96 * 100  # of the dense average
    half = stats.t.ppf(1 - 0.05 / 6, IMAGES - 1) * error
    assert effect.high - effect.low == pytest.approx(2 * half)


def test_a_student_that_was_not_kept_is_compared_as_it_was_trained(tmp_path: Path) -> None:
    home = two_by_two(tmp_path)
    name = "layerwise-0.1"
    trial = next(t for t in load_trials(home) if t.trial_id == name)
    other = trial.record.evaluation
    assert other is not None
    worse = other.model_copy(update={"retention": 0.6})
    record = trial.record.model_copy(update={"kept": "untrained", "other": worse})
    write_json(home / "trials" / name / "record.json", record)
    rng = np.random.default_rng(1)
    for each in load_trials(home):
        answers = table(a=100.0 * (rng.random(2 * IMAGES) < 0.7))
        samples = TRAINED_SAMPLES if each.trial_id == name else SEARCH_SAMPLES
        answers.save(home / "trials" / each.trial_id / samples)
    decay = by_name(factor_report(load_trials(home)))["recovery.weight_decay", "0.1"]
    assert decay.least == pytest.approx(-30)
    before = decay.effect
    (home / "trials" / name / TRAINED_SAMPLES).unlink()
    after = by_name(factor_report(load_trials(home)))["recovery.weight_decay", "0.1"].effect
    assert after.high - after.low != pytest.approx(before.high - before.low)


def test_seeds_widen_the_intervals_where_they_are_known(tmp_path: Path) -> None:
    home = two_by_two(tmp_path)
    trials = load_trials(home)
    once = by_name(factor_report(trials))["recovery.weight_decay", "0.1"].effect
    again = [
        trained(f"again-{seed}", 0.90 + 0.02 * seed, method="layerwise", seed=seed)
        for seed in (1, 2)
    ]
    report = factor_report([*trials, *again])
    assert report.seed_deviation == pytest.approx(2.0), "0.90, 0.92 and 0.94"
    effect = by_name(report)["recovery.weight_decay", "0.1"].effect
    assert effect.estimate == pytest.approx((94 - 92 + 2) / 2)
    # Weights of 1/2 of three configurations that were run once, and of one that was three times.
    seeds = 2.0 * math.sqrt(3 * 0.25 + 0.25 / 3)
    half = stats.t.ppf(1 - 0.05 / 6, 2) * math.hypot(100 * math.hypot(0.01, 0.01), seeds)
    assert effect.high - effect.low == pytest.approx(2 * half)
    assert effect.high - effect.low > once.high - once.low
    assert "and the seeds" in report.method


def test_students_that_guess_tell_nothing_of_each_other(tmp_path: Path) -> None:
    cell = {"method": "layerwise", "ratio": 0.3}
    trials = [
        (trained(f"t{decay}", 0.2, decay), cell, {"recovery.weight_decay": decay})
        for decay in (0.0, 0.1)
    ]
    report = factor_report(load_trials(laid(tmp_path, trials)))
    assert report.effects == ()
    assert [one.factor for one in report.untold] == ["recovery.weight_decay"]


def drawn(folder: Path, count: int) -> Path:
    """Numbers as a sampler draws them: rank on a log scale, a share, and two places."""
    rng = np.random.default_rng(5)
    trials = []
    for at in range(count):
        rank, share = int(2 ** rng.uniform(1, 6)), float(rng.random())
        where = ("attention", "all")[at % 2]
        points = 80 + 6 * math.log(rank / 2) / math.log(32) - 3 * (where == "all")
        trial = trained(f"t{at}", (points + rng.normal(0, 0.3)) / 100, share)
        cell = {"where": where, "ratio": 0.3}
        trials.append((trial, cell, {"rank": rank, "share": share}))
    return laid(folder, trials)


def test_numbers_that_a_sampler_draws_are_fitted(tmp_path: Path) -> None:
    home = drawn(tmp_path, 24)
    report = factor_report(load_trials(home))
    found = by_name(report)
    (rank,) = (e for e in report.effects if e.factor == "rank")
    lowest, highest = int(rank.against), int(rank.level)
    true = 6 * math.log(highest / lowest) / math.log(32)
    assert rank.effect.low < true < rank.effect.high
    assert rank.told
    assert rank.pairs == 0
    where = found["where", "all"]
    assert where.effect.low < -3 < where.effect.high
    assert where.told
    (share,) = (e for e in report.effects if e.factor == "share")
    assert not share.told
    assert report.untold == ()
    file = StringIO()
    show_effects(report, Console(file=file, width=80, force_terminal=True, color_system=None))
    assert max(map(len, file.getvalue().splitlines())) <= 80
    files = write_effects(home, report)
    assert files.csv.read_text().splitlines()[0].startswith("factor,level,against,")
    assert files.png.stat().st_size > 5_000


def test_a_factor_of_which_one_level_was_tried_is_named(tmp_path: Path) -> None:
    home = two_by_two(tmp_path)
    sweep = json.loads((home / "sweep.json").read_text())
    sweep |= {"choices": {"terms": ["ce", "l2"], "recovery.weight_decay": [0.0, 0.1]}}
    (home / "sweep.json").write_text(json.dumps(sweep))
    (one,) = factor_report(load_trials(home)).untold
    assert (one.factor, one.why) == ("terms", "only ce was tried")


def test_too_few_trials_are_said_to_tell_nothing(tmp_path: Path) -> None:
    home = drawn(tmp_path, 4)
    report = factor_report(load_trials(home))
    assert report.effects == ()
    assert {one.factor for one in report.untold} == {"where", "rank", "share"}
    assert "Cannot be told: where, rank, share (no two trials differ in it alone" in (
        write_effects(home, report).text
    )
    assert factor_report([]).effects == ()
