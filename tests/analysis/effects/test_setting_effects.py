"""Settings around a recipe with made-up retentions: effects, spread, noise and verdicts by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from helpers.trials import make_dense, make_trial

from analysis.effects.setting_effects import sensitivity_report
from analysis.load import Trial

SEEDS = (-0.01, 0.0, 0.01)  # what the three seeds do to every setting alike
LOSS = {"alpha": 0.5, "gamma": 0.5}


def setting(name: str, ratio: float, retention: float, **recovery: Any) -> list[Trial]:
    """One setting with three seeds; the noise beyond the seeds is +-0.001 of the first and last."""
    loss = recovery.pop("loss", LOSS)
    wiggle = {"centre": 0.0, "low": 0.001, "high": -0.001}.get(name.split("-")[0], 0.0)
    settings = {"learning_rate": 1e-3, **recovery}
    return [
        make_trial(
            f"{name}-{ratio}-{seed}",
            retention + shift + wiggle * (seed - 1),
            ratio=ratio,
            seed=seed,
            loss=loss,
            recovery_settings=settings,
        )
        for seed, shift in enumerate(SEEDS)
    ]


def trials() -> list[Trial]:
    """Two recipes. A low rate costs 5 points at the larger ratio, rank and weights do nothing."""
    found = [make_dense()]
    for ratio, loss_of_low in ((0.3, 0.002), (0.6, 0.05)):
        found += setting("centre", ratio, 0.90)
        found += setting("low", ratio, 0.90 - loss_of_low, learning_rate=2.5e-4)
        found += setting("high", ratio, 0.905, learning_rate=4e-3)
        found += setting("rank", ratio, 0.90, lora_rank=64)
        found += setting("weights", ratio, 0.90, loss={"alpha": 0.2, "gamma": 0.8})
        found += setting("budget", ratio, 0.91, budget={"epochs": 2.0})
    return found


def test_effects_are_paired_differences_from_the_recipe() -> None:
    report = sensitivity_report(trials())
    recipe = "layerwise 0.60, joint ce+l2"
    found = {(e.factor, e.level): e.effect for e in report.effects if e.recipe == recipe}
    expected = {
        ("learning rate", "x 0.25"): -5.0,
        ("learning rate", "x 4"): 0.5,
        ("LoRA rank", "64"): 0.0,
        ("loss weights", "ce 0.20, l2 0.80"): 0.0,
        ("budget", "x 2"): 1.0,
    }
    assert list(found) == list(expected)
    assert [e.estimate for e in found.values()] == pytest.approx(list(expected.values()))
    # Left over are +-0.1 points at the first and last seed of two settings: 4 * 0.01 over
    # (6 - 1) * (3 - 1) degrees of freedom; t at 10 degrees is 2.228.
    deviation = math.sqrt(4 * 0.1**2 / 10)
    half = 2.228 * deviation * math.sqrt(2 / 3)
    assert found["LoRA rank", "64"].high == pytest.approx(half, rel=1e-3)
    assert [e.high - e.low for e in found.values()] == pytest.approx([2 * half] * 5, rel=1e-3)


def test_spread_is_relative_to_the_noise_of_seeds() -> None:
    report = sensitivity_report(trials())
    rows = {(s.recipe, s.factor): s for s in report.spreads}
    rate = rows["layerwise 0.60, joint ce+l2", "learning rate"]
    assert (rate.levels, rate.spread) == (3, pytest.approx(5.5))
    assert rate.spread_in_deviations == pytest.approx(5.5 / math.sqrt(4 * 0.1**2 / 10))
    noise = {n.recipe: n for n in report.noise}["layerwise 0.30, joint ce+l2"]
    assert (noise.retention, noise.deviation) == (pytest.approx(90.0), pytest.approx(1.0))
    assert noise.low < noise.deviation < noise.high
    assert noise.runs == 3


def test_a_setting_is_robust_only_if_it_is_at_every_ratio() -> None:
    verdicts = {(v.factor, v.level): v for v in sensitivity_report(trials()).verdicts}
    low = verdicts["learning rate", "x 0.25"]
    assert (low.verdict, low.recipes) == ("harmful", 2)
    assert (low.worst, low.worst_recipe) == (pytest.approx(-5.0), "layerwise 0.60, joint ce+l2")
    assert {v.verdict for k, v in verdicts.items() if k != ("learning rate", "x 0.25")} == {
        "robust"
    }


def test_a_setting_with_a_wide_interval_is_undecided() -> None:
    noisy = [t for t in trials() if t.trial_id.startswith(("centre-0.3", "rank-0.3"))]
    noisy += [make_trial("rank-0.3-x", 0.4, ratio=0.3, seed=3, loss=LOSS,
                         recovery_settings={"learning_rate": 1e-3, "lora_rank": 64}),
              make_trial("centre-0.3-x", 0.5, ratio=0.3, seed=3, loss=LOSS,
                         recovery_settings={"learning_rate": 1e-3})]  # fmt: skip
    (verdict,) = sensitivity_report(noisy).verdicts
    assert verdict.verdict == "undecided"
    assert verdict.worst_low < -1


def test_two_changes_at_once_and_missing_seeds_are_left_out() -> None:
    both = setting("both", 0.3, 0.5, learning_rate=4e-3, lora_rank=64)
    with_both = sensitivity_report([*trials(), *both])
    assert with_both.effects == sensitivity_report(trials()).effects
    single = [t for t in trials() if t.record.seeds.train == 0]
    assert sensitivity_report(single).effects == ()
    assert sensitivity_report([]).verdicts == ()
