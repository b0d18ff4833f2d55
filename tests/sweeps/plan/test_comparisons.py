"""What a plan says of comparing recoveries: held-out losses, and students that are not trained."""

from __future__ import annotations

import pytest
from helpers.trials import make_trial

from analysis.load import Trial
from sweeps.engine.plan.ahead import Work
from sweeps.engine.plan.assumed import assumed_rates
from sweeps.engine.plan.comparisons import (
    Shared,
    compared_samples,
    comparison_rate,
    shared_comparisons,
)
from sweeps.engine.plan.estimates import kept_share
from sweeps.engine.plan.forecast import forecast
from sweeps.engine.plan.rates import Known, Rates
from sweeps.engine.spec import SweepSpec
from trainables.models.families.registry import language_shape
from trainables.records import CostReport, TrialRecord
from trainables.specs import EvaluationSpec, TrialSpec

DATA = 1000
SHAPE = language_shape(TrialSpec().model)


def spec(scope: str = "joint", ratio: float = 0.3, **more: object) -> TrialSpec:
    return make_trial(scope=scope, ratio=ratio, **more).record.spec  # type: ignore[arg-type]


def took(seconds: float, **more: object) -> TrialRecord:
    """A trial of 1000 conversations that spent so much on held-out losses."""
    record = make_trial(**more).record  # type: ignore[arg-type]
    used = round(DATA * record.spec.recovery.data_fraction)
    assert record.recovery is not None
    recovery = record.recovery.model_copy(update={"samples": used, "epochs": 1.0})
    cost = CostReport(
        device="x", devices=1, wall_seconds=9,
        device_seconds={"load": 0.1, "compare": seconds, "untrained": 50, "evaluate": 1},
    )  # fmt: skip
    return record.model_copy(update={"recovery": recovery, "cost": cost})


def test_held_out_are_at_most_64_and_none_where_few_are_left() -> None:
    assert compared_samples(spec(data_fraction=0.2), DATA) == 64
    assert compared_samples(spec(data_fraction=0.97), DATA) == 30
    assert compared_samples(spec(data_fraction=0.995), DATA) == 0
    assert compared_samples(spec("none"), DATA) == 0


def test_what_trials_with_one_plan_share_is_counted_once() -> None:
    both = [Work(spec("joint"), 1.0), Work(spec("projector"), 3.0)]
    other = Work(spec("joint", 0.45), 0.5)
    one, two = (kept_share(work.spec, SHAPE) for work in (both[0], other))
    assert two < one < 1

    def shared(ahead: list[Work], *over: Trial) -> Shared:
        return shared_comparisons(ahead, over, DATA, SHAPE)

    assert shared(both) == Shared(64 * one, 1, one)
    assert shared([*both, other]) == pytest.approx(Shared(64 * one + 32 * two, 1.5, one + two / 2))
    bare = Work(spec("none"), 1.0)
    assert shared([*both, bare]) == Shared(64 * one, 0, 0)
    assert shared(both, make_trial(scope="none")) == Shared(64 * one, 0, 0)
    assert shared(both, make_trial(scope="joint")) == Shared(0, 0, 0)
    assert shared(both, make_trial(seed=1)) == Shared(64 * one, 1, one)


def test_finished_trials_tell_the_seconds_of_a_conversation() -> None:
    """Two of one plan ask for three losses of 64 each, one of another plan for two."""
    one, two = (kept_share(spec(ratio=ratio), SHAPE) for ratio in (0.3, 0.45))
    records = [took(12.8 * one), took(6.4 * one, scope="projector"), took(12.8 * two, ratio=0.45)]
    assert comparison_rate(records, SHAPE) == pytest.approx(0.1)
    assert comparison_rate([make_trial().record], SHAPE) is None


def test_a_forecast_has_the_comparisons() -> None:
    base = TrialSpec(evaluation=EvaluationSpec(tasks=("tiny_choice",), search_limit=10))
    points = tuple(
        {"method": "layerwise", "ratio": ratio, "scope": scope}
        for ratio, scope in ((0.3, "projector"), (0.3, "joint"), (0.45, "joint"), (0.45, "none"))
    )
    sweep = SweepSpec(name="s", question="?", trial=base, designed=points, priors=False)
    shape = language_shape(base.model)
    known = Known(Rates(comparison=0.5, evaluation=(1.0, 0.2)), "a probe")
    ahead = forecast(
        sweep,
        shape,
        [],
        conversations=DATA,
        teacher_cached=False,
        slots=1,
        sources=(known, assumed_rates(base, shape)),
    )
    stages = {row.stage: row for row in ahead.stages}
    one, two = (kept_share(spec(ratio=ratio), shape) for ratio in (0.3, 0.45))
    # After each, before each plan; the student of 0.45 is asked anyway.
    losses = (3 * one + 2 * two) * 64
    assert stages["comparison"].seconds == pytest.approx(0.5 * losses + (1 + 0.2 * one * 10))
    assert stages["comparison"].basis == "a probe"
    scored = stages["search split"].seconds - assumed_rates(base, shape).rates.start["search split"]
    answered = 10 * (1 + 2 * one + 2 * two)
    assert scored == pytest.approx(5 + 0.2 * answered), "the dense model and four students"
