"""What a plan says of the time, against what real trials took and against rates that are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.command_line import invoke
from helpers.ledgers import LEDGER_V1
from helpers.trials import make_trial

from analysis.load import load_trials
from sweeps.engine.plan.assumed import assumed_rates
from sweeps.engine.plan.estimates import student_tflops, taught_samples
from sweeps.engine.plan.forecast import Forecast, forecast
from sweeps.engine.plan.rates import Known, Rates, first_known, rates_of
from sweeps.engine.spec.loading import load_sweep
from trainables.models.families.registry import language_shape
from trainables.records import CostReport, RecoverySpeed
from trainables.specs import LossSpec, TrialSpec

QUICKSTART = load_sweep("quickstart")
SHAPE = language_shape(QUICKSTART.trial.model)
TRIALS = sorted(load_trials(LEDGER_V1), key=lambda t: t.record.provenance.finished)


def quickstart(trials, probe: Known | None = None) -> Forecast:
    return forecast(
        QUICKSTART,
        SHAPE,
        trials,
        conversations=21_000,
        teacher_cached=True,
        slots=2,
        sources=(*((probe,) if probe else ()), assumed_rates(QUICKSTART.trial, SHAPE)),
    )


def test_stages_of_a_finished_sweep_are_what_its_records_say() -> None:
    whole = quickstart(TRIALS)
    spent = {row.stage: row.spent for row in whole.stages}
    clocks = [trial.record.cost.device_seconds for trial in TRIALS]
    assert spent["recovery"] == pytest.approx(sum(c.get("recover", 0) for c in clocks))
    assert spent["search split"] == pytest.approx(sum(c["evaluate"] for c in clocks))
    assert whole.device_seconds == pytest.approx(whole.spent_seconds)


@pytest.mark.parametrize("finished", [5, 8, 12])
def test_the_first_trials_forecast_the_whole_within_a_fifth(finished: int) -> None:
    took = quickstart(TRIALS).spent_seconds
    first = [replace(trial, report=None) for trial in TRIALS[:finished]]
    assert quickstart(first).device_seconds == pytest.approx(took, rel=0.2)


def test_rates_alone_forecast_a_sweep_that_has_not_begun() -> None:
    """As a probe hands them over: no trial of the sweep is known."""
    whole = quickstart(TRIALS)
    probe = Known(rates_of([t.record for t in TRIALS], SHAPE, latency=1.5), "a probe")
    ahead = quickstart([], probe)
    assert ahead.device_seconds == pytest.approx(whole.spent_seconds, rel=0.2)
    took = {row.stage: row.spent for row in whole.stages}
    for row in ahead.stages:
        if row.stage in ("recovery", "search split", "teacher cache", "importance"):
            assert row.seconds == pytest.approx(took[row.stage], rel=0.2), row.stage


def test_costs_by_sample_and_by_flop_are_told_apart() -> None:
    """2 s per recovery, 3 ms per sample, 0.5 s per TFLOP of the student."""
    records = []
    for ratio, samples in ((0.15, 1000), (0.3, 5000), (0.6, 2000), (0.45, 9000)):
        record = make_trial(ratio=ratio).record
        spec = record.spec.model_copy(update={"model": QUICKSTART.trial.model})
        seconds = 3e-3 * samples + 0.5 * student_tflops(spec, SHAPE, samples, 30)
        speed = RecoverySpeed(
            seconds=seconds,
            tokens_per_second=1,
            samples_per_second=samples / seconds,
            teacher_share=0,
        )
        cost = CostReport(
            device="x", devices=1, device_seconds={"recover": seconds + 2, "evaluate": 1},
            wall_seconds=9,
        )  # fmt: skip
        did = {"speed": speed, "samples": samples, "tokens": 30 * samples}
        recovery = record.recovery.model_copy(update=did)
        records.append(record.model_copy(update={"spec": spec, "recovery": recovery, "cost": cost}))
    assert rates_of(records, SHAPE).recovery == pytest.approx((2.0, 3e-3, 0.5))


def test_each_rate_comes_from_the_best_source_that_knows_it() -> None:
    best = Known(Rates(cache=1.0), "trials")
    whole = Rates(
        start={}, importance={}, cache=2.0, recovery=(1, 1, 1), comparison=1.0, evaluation=(1, 1),
        preparing=3.0, latency=3.0,
    )  # fmt: skip
    rest = Known(whole, "assumed")
    rates, basis = first_known([best, rest])
    assert (rates.cache, rates.latency) == (1.0, 3.0)
    assert (basis["cache"], basis["latency"]) == ("trials", "assumed")


def test_a_plan_without_measurements_says_so_at_every_stage(tmp_path: Path) -> None:
    plan = json.loads(invoke("plan", "llava_7b_frontier", "--storage", tmp_path, "--json").stdout)
    stages = {row["stage"]: row for row in plan["forecast"]["stages"]}
    assert {"importance", "recovery", "search split", "report split", "latency"} <= set(stages)
    for row in stages.values():
        assert row["basis"] == "assumed, not measured: 400 TFLOP/s of a GPU"
    total = sum(row["seconds"] for row in stages.values())
    assert plan["device_hours"] == pytest.approx(total / 3600)


def test_the_teacher_answers_no_more_than_all_of_the_data() -> None:
    """Fractions of one data seed are nested, other seeds draw others, and all seeds repeat."""
    base = QUICKSTART.trial
    loss = LossSpec(alpha=0.5, beta=0.5)
    taught = base.recovery.model_copy(update={"scope": "joint", "loss": loss})

    def trial(fraction: float, seed: int) -> TrialSpec:
        recovery = taught.model_copy(update={"data_fraction": fraction})
        return base.model_copy(update={"recovery": recovery, "seeds": base.seeds.shifted(seed)})

    specs = [trial(0.1, 0), trial(0.2, 0), trial(0.1, 1)]
    assert taught_samples(specs, 1, 1000) == 204 + 102, "whole blocks"
    assert taught_samples(specs, 3, 1000) == 918
    assert taught_samples(specs, 4, 1000) == 1000
    untaught = base.recovery.model_copy(update={"scope": "none"})
    assert taught_samples([base.model_copy(update={"recovery": untaught})], 1, 1000) == 0
