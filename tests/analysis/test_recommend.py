"""What is recommended within limits, and what is said when nothing fits."""

from dataclasses import replace

import pytest
from helpers.trials import make_dense, make_trial

from analysis.recommend import recommend

TRIALS = [
    make_trial("small", 0.80, weights_mib=6.0, recovery_tflops=9.0),
    make_trial("middle", 0.96, weights_mib=9.0, recovery_tflops=4.0),
    make_trial("large", 0.99, weights_mib=12.0, recovery_tflops=2.0),
    make_trial("broken", 0.99, weights_mib=1.0, status="failed"),
    make_trial("stopped", 0.99, weights_mib=1.0, status="early_stopped"),
    make_dense(),
]


def test_a_repeat_with_another_seed_is_not_recommended() -> None:
    """It is the luckier draw of a configuration, not a better one."""
    lucky = make_trial("lucky", 0.99, origin="confirm", seed=1)
    chosen = recommend([make_trial("a", 0.8), lucky, make_dense()]).trial
    assert chosen is not None
    assert chosen.trial_id == "a"


def test_highest_retention_within_a_cost() -> None:
    answer = recommend(TRIALS, {"weights_mib": 9.5}, {})
    assert answer.trial is not None
    assert answer.trial.trial_id == "middle"
    assert not answer.dense_fits
    assert "highest retention" in answer.message


def test_smallest_model_above_a_retention() -> None:
    answer = recommend(TRIALS, {}, {"retention": 0.9})
    assert answer.trial is not None
    assert answer.trial.trial_id == "middle"
    assert answer.dense_fits
    assert "smallest weight memory" in answer.message


@pytest.mark.parametrize(("floor", "chosen"), [(0.9360, "middle"), (0.9362, "large")])
def test_retention_must_be_kept_by_the_lower_end_of_the_interval(floor: float, chosen: str) -> None:
    # Among three: middle 0.96 - 2.394 * 0.01 = 0.9361, large 0.99 - 0.0239 = 0.9661.
    answer = recommend(TRIALS, min={"retention": floor})
    assert answer.trial is not None
    assert answer.trial.trial_id == chosen


def test_the_interval_is_the_records_bootstrap_where_there_is_one() -> None:
    """Its lower end, 0.93, lies below 1.96 standard errors: 0.9404. It has no rival."""
    middle = TRIALS[1]
    evaluation = middle.record.evaluation
    assert evaluation is not None
    skewed = evaluation.model_copy(update={"retention_low": 0.93, "retention_high": 0.97})
    trial = replace(middle, record=middle.record.model_copy(update={"evaluation": skewed}))
    assert recommend([trial, make_dense()], min={"retention": 0.929}).trial is not None
    answer = recommend([trial, make_dense()], min={"retention": 0.931})
    assert answer.trial is None
    assert answer.broken[0].value == 0.93


def test_nothing_fits_names_the_nearest_and_the_limit_it_breaks() -> None:
    answer = recommend(TRIALS, {"weights_mib": 8.9}, {"retention": 0.9})
    assert answer.trial is None
    assert answer.nearest is not None
    assert answer.nearest.trial_id == "middle"
    assert [(b.axis, b.limit, b.value) for b in answer.broken] == [("weights_mib", 8.9, 9.0)]
    assert answer.broken[0].excess == pytest.approx(0.1)
    assert "weights_mib=9, but the limit is 8.9" in answer.message


def test_what_was_not_considered_is_counted_with_the_reason() -> None:
    repeat = make_trial("again", 0.99, origin="confirm", seed=1)
    answer = recommend([*TRIALS, repeat], {"weights_mib": 9.5})
    assert answer.considered == 3
    assert answer.left_out == {
        "failed": 1,
        "were stopped early": 1,
        "repeat another with other seeds": 1,
    }
    assert "Not considered: 1 failed, 1 were stopped early" in answer.message


def test_a_task_may_be_limited() -> None:
    middle = TRIALS[1].record.evaluation
    assert middle is not None
    task, score = next((name, task.score) for name, task in middle.tasks.items())
    answer = recommend(TRIALS, min={task: score})
    assert answer.trial is not None
    assert answer.trial.trial_id == "large"
    middle_alone = recommend(TRIALS, max={"weights_mib": 9.5}, min={task: score + 1})
    assert middle_alone.trial is None
    assert [b.axis for b in middle_alone.broken] == [task]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"retention": 95.0}, "write retention=0.95"),
        ({"weights_mib": -1.0}, "negative"),
        ({"latency_ms": float("nan")}, "not a finite number"),
        ({"popee": 80.0}, "unknown axis 'popee'"),
    ],
)
def test_limits_that_nothing_can_have(limits: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recommend(TRIALS, min=limits)


def test_unmeasured_axis_fits_no_limit() -> None:
    answer = recommend(TRIALS, {"latency_ms": 50.0})
    assert answer.trial is None
    assert "latency_ms was not measured" in answer.message


def test_only_report_scores_count_once_there_are_any() -> None:
    trials = [
        make_trial("lucky", 0.99, weights_mib=9.0),
        make_trial("checked", 0.95, weights_mib=9.0, report=0.93),
    ]
    answer = recommend(trials, {"weights_mib": 10.0})
    assert answer.trial is not None
    assert (answer.trial.trial_id, answer.trial.retention) == ("checked", 0.93)
    assert answer.split == "report"


def test_the_dense_base_is_mentioned_but_not_recommended() -> None:
    answer = recommend(TRIALS, {"weights_mib": 16.0})
    assert answer.trial is not None
    assert answer.trial.trial_id == "large"
    assert answer.dense_fits
    assert "dense model itself" in answer.message


def test_no_trials() -> None:
    answer = recommend([], {"weights_mib": 9.5})
    assert answer.trial is None
    assert answer.nearest is None
    assert "No completed trial" in answer.message


def test_unknown_axis_and_bad_limit() -> None:
    with pytest.raises(ValueError, match="valid axes are weights_mib"):
        recommend(TRIALS, {"memory": 1.0})
    with pytest.raises(ValueError, match="not a finite number"):
        recommend(TRIALS, {"weights_mib": float("nan")})


def test_what_guesses_is_not_recommended_and_said_so() -> None:
    found = recommend(
        [make_trial("guess", 0.2, weights_mib=2.0), make_dense()], max={"weights_mib": 3}
    )
    assert (found.trial, found.considered) == (None, 0)
    assert "1 score no better than guessing" in found.message
