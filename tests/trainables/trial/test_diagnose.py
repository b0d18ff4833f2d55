"""Signatures of failure from answers, curves and gains that are known by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from trainables.records import Comparison, EvaluationReport, RecoveryReport
from trainables.records.score_table import ScoreTable, TaskSamples
from trainables.specs import LossSpec
from trainables.trial.diagnose import (
    diagnose,
    diverged,
    image_not_used,
    kd_only_instability,
    most_common,
    one_answer,
    rise_at_end,
    training_made_it_worse,
    weighted_curve,
)
from trainables.trial.held_out import HeldOut, paired_losses

KD_ONLY = LossSpec(alpha=0.0, beta=1.0)


def table(**answers: Sequence[str]) -> ScoreTable:
    """A table of tasks with these answers, each right on every other question."""
    return ScoreTable(
        {
            task: TaskSamples(
                doc_ids=tuple(range(len(said))),
                image_ids=tuple(str(i) for i in range(len(said))),
                scores=np.arange(len(said)) % 2 * 100.0,
                weights=np.ones(len(said)),
                answers=tuple(said),
            )
            for task, said in answers.items()
        }
    )


def evaluated(gain: float | None, usual: float | None) -> EvaluationReport:
    return EvaluationReport(
        split="search", tasks={}, average=50, average_se=1, image_gain=gain, dense_image_gain=usual
    )


def test_collapse_to_one_answer_against_the_dense_model() -> None:
    dense = table(pope=["yes", "no"] * 5, gqa=["red", "blue", "green", "two", "one"] * 2)
    # Half of the dense answers are yes: the threshold is 0.75. Eight of ten exceed it.
    found = one_answer(table(pope=["Yes "] * 8 + ["no"] * 2, gqa=["red", "blue"] * 5), dense)
    assert found is not None
    assert (found.name, found.value, found.threshold) == ("one_answer", 0.8, 0.75)
    assert "80 % of the answers to pope are 'yes'" in found.sentence
    assert "50 %" in found.sentence
    assert one_answer(table(pope=["yes"] * 7 + ["no"] * 3, gqa=["red", "blue"] * 5), dense) is None


def test_the_task_furthest_beyond_its_threshold_is_named() -> None:
    dense = table(pope=["yes", "no"] * 5, gqa=["red", "blue", "green", "two", "one"] * 2)
    found = one_answer(table(pope=["yes"] * 10, gqa=["red"] * 10), dense)
    assert found is not None
    assert "gqa" in found.sentence, "1 - 0.6 is more than 1 - 0.75"
    assert found.threshold == pytest.approx(0.6)


def test_a_task_that_the_dense_model_answers_with_one_word_tells_nothing() -> None:
    assert one_answer(table(pope=["no"] * 4), table(pope=["no"] * 4)) is None


def test_only_questions_that_both_answered_are_compared() -> None:
    dense = table(pope=["yes", "yes", "no", "no", "no", "no", "no", "no"])
    student = ScoreTable({"pope": table(pope=["yes"] * 8).tasks["pope"].take(range(4))})
    found = one_answer(student, dense)
    assert found is not None
    assert found.threshold == 0.75


def test_the_most_common_answer_disregards_case_and_blanks() -> None:
    assert most_common(["Red", " red", "blue", "RED "]) == ("red", 0.75)
    assert most_common(["b", "a"]) == ("b", 0.5)


def test_distillation_alone_that_skips_steps_or_rises_again() -> None:
    calm, rising = [2.0] * 20, [2.0, 1.0] * 18 + [2.5] * 4
    assert kd_only_instability(KD_ONLY, 0, calm) is None
    skipped = kd_only_instability(KD_ONLY, 2, calm)
    assert skipped is not None
    assert (skipped.value, skipped.threshold) == (2, 1)
    assert "2 steps of a recovery on reverse_kl alone were skipped" in skipped.sentence
    risen = kd_only_instability(KD_ONLY, 0, rising)
    assert risen is not None
    assert risen.value == pytest.approx(2.5 / 1.5)
    assert kd_only_instability(LossSpec(beta=1.0), 2, rising) is None, "cross-entropy is in it"


def test_distillation_alone_that_diverges() -> None:
    (lost,) = diverged(KD_ONLY)
    assert lost.name == "kd_only_instability"
    assert "reverse_kl alone diverged" in lost.sentence
    assert diverged(LossSpec(beta=1.0)) == ()


def test_rise_is_the_last_tenth_over_the_lowest_one() -> None:
    curve = [5.0] * 10 + [1.0, 3.0] + [4.0] * 6 + [6.0, 8.0]  # tenths of two steps
    assert rise_at_end(curve) == pytest.approx(7.0 / 2.0)
    assert rise_at_end(curve[:19]) is None
    assert rise_at_end([0.0] * 20) is None


@pytest.mark.parametrize(
    ("gain", "usual", "share"),
    [
        (4.0, 40.0, 0.1),
        (-2.0, 40.0, -0.05),
        (10.0, 40.0, None),
        (0.0, 4.0, None),
        (None, None, None),
    ],
)
def test_loss_of_image_use(gain: float | None, usual: float | None, share: float | None) -> None:
    found = image_not_used(evaluated(gain, usual))
    assert (found.value if found else None) == (share if share is None else pytest.approx(share))
    if found:
        assert found.threshold == 0.25
        assert f"only {gain:.1f} points" in found.sentence


def averaging(average: float) -> EvaluationReport:
    return EvaluationReport(split="search", tasks={}, average=average, average_se=1)


@pytest.mark.parametrize(("high", "signs"), [(0.4, False), (-0.1, True)])
def test_a_fall_that_the_questions_explain_is_no_sign(high: float, signs: bool) -> None:
    fall = Comparison(dense=93.8, difference=-1.1, low=-2.3, high=high)
    found = training_made_it_worse(
        RecoveryReport(scope="joint"), averaging(92.7), averaging(93.8), fall, "untrained"
    )
    assert (found is not None) == signs
    if found:
        assert (found.value, found.threshold) == (92.7, 93.8)
        assert "fell from 93.8 to 92.7 (by 0.1 to 2.3 points)" in found.sentence


@pytest.mark.parametrize(("error", "signs"), [(0.03, False), (0.02, True), (None, False)])
def test_a_rise_that_the_conversations_explain_is_no_sign(error: float | None, signs: bool) -> None:
    risen = RecoveryReport(
        scope="joint", held_out_before=0.2, held_out_after=0.25, held_out_se=error
    )
    assert risen.loss_rose
    assert risen.loss_rose_beyond_noise == signs
    found = training_made_it_worse(risen, averaging(94.0), averaging(93.8), None, "trained")
    assert (found is not None) == signs
    if found:
        assert (found.value, found.threshold) == (0.25, 0.2)
        assert "rose from 0.2 to 0.25 and the average went from 93.8 to 94.0" in found.sentence


def test_held_out_losses_are_paired_by_conversation() -> None:
    # The second conversation has half of the tokens; each token of it rises by 0.4, of others by 0.
    before = HeldOut((2.0, 1.0, 1.0), (4, 8, 4))
    after = HeldOut((2.0, 4.2, 1.0), (4, 8, 4))
    found = paired_losses(before, after)
    assert found["held_out_before"] == pytest.approx(4 / 16)
    assert found["held_out_after"] == pytest.approx(7.2 / 16)
    mean = 3.2 / 16
    moved = [-4 * mean / 16, (3.2 - 8 * mean) / 16, -4 * mean / 16]
    variance = 3 / 2 * sum(m**2 for m in moved)
    assert found["held_out_se"] == pytest.approx(variance**0.5)
    alike = paired_losses(before, HeldOut((2.4, 1.8, 1.4), (4, 8, 4)))
    assert alike["held_out_se"] == pytest.approx(0.0, abs=1e-12), "each token rises by as much"
    assert paired_losses(None, after) == paired_losses(before, None) == {}


def test_all_signatures_of_a_trial_come_together() -> None:
    dense, student = table(pope=["yes", "no"] * 5), table(pope=["no"] * 10)
    everything = diagnose(
        student, dense, evaluated(0.0, 40.0), RecoveryReport(scope="joint", skipped_steps=1),
        KD_ONLY, (),
    )  # fmt: skip
    assert [s.name for s in everything] == ["one_answer", "image_not_used", "kd_only_instability"]
    untrained = diagnose(
        dense, dense, evaluated(40.0, 40.0), RecoveryReport(scope="none"), KD_ONLY, ()
    )
    assert untrained == ()


def test_the_curve_is_the_weighted_loss_of_each_whole_line(tmp_path: Path) -> None:
    rows = [{"step": 0, "grad_norm": 1.0, "ce": 2.0, "l2": 4.0}, {"step": 1, "ce": 1.0, "l2": 3.0}]
    skipped = [
        {"step": 2, "ce": None, "l2": 1.0},
        {"step": 3, "ce": 9.0, "l2": 9.0, "skipped": "the loss is 6.75, above 3 times its usual"},
    ]
    lines = [json.dumps(row) for row in [*rows, *skipped]]
    (tmp_path / "curves.jsonl").write_text("\n".join(lines) + "\n")
    report = RecoveryReport(scope="joint", curves="curves.jsonl")
    loss = LossSpec(alpha=0.5, gamma=0.25)
    assert list(weighted_curve(tmp_path, report, loss)) == pytest.approx([2.0, 1.25])
    assert weighted_curve(tmp_path, RecoveryReport(scope="joint"), loss) == ()
    assert weighted_curve(tmp_path / "nowhere", report, loss) == ()
