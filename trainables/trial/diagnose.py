"""Known ways to fail, recognised from what a trial has measured: a value against a threshold.

Pure functions over scores, answers and loss curves, without torch. Each hands back a signature, or
None when the trial does not show it or there is nothing to judge by.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainables.records import Comparison, EvaluationReport, Kept, RecoveryReport, Signature
from trainables.records.score_table import ScoreTable
from trainables.specs import LossSpec

RISE = 1.5  # of the lowest tenth; 73 runs of 33 steps that trained well ended below 1.31
IMAGE_SHARE = 0.25  # of what the image is worth to the dense model
LEAST_GAIN = 5.0  # points; where the dense model needs no image, nobody can lose its use
LEAST_STEPS = 20  # two steps to a tenth of the curve


def diagnose(
    table: ScoreTable,
    dense: ScoreTable | None,
    evaluation: EvaluationReport,
    recovery: RecoveryReport,
    loss: LossSpec,
    curve: Sequence[float],
) -> tuple[Signature, ...]:
    """Every signature that a trial shows; none where it is not compared with its dense model.

    Args:
        table: the student's answers.
        dense: the dense model's, on at least the same questions; None if there is no comparison.
        evaluation: the student's scores, `image_gain` among them where it was measured.
        recovery: how the recovery went.
        loss: its loss; not looked at when nothing was trained.
        curve: the weighted loss of each step, see `weighted_curve`.
    """
    if dense is None:
        return ()
    found = [one_answer(table, dense), image_not_used(evaluation)]
    if recovery.scope != "none":
        found.append(kd_only_instability(loss, recovery.skipped_steps, curve))
    return tuple(signature for signature in found if signature is not None)


def one_answer(table: ScoreTable, dense: ScoreTable) -> Signature | None:
    """Collapse: one answer dominates a task far more than in the dense model's answers.

    The threshold lies halfway between the dense model's own share of its most common answer, on the
    same questions, and 1: for a task whose true answers are half "yes" it is 0.75. Of several tasks
    the one furthest above its threshold is named.
    """
    worst: tuple[float, Signature] | None = None
    dense = dense.matching(table)
    for task, samples in table.tasks.items():
        answer, share = most_common(samples.answers)
        _, usual = most_common(dense.tasks[task].answers)
        threshold = (1.0 + usual) / 2.0
        excess = share - threshold
        if usual < 1.0 and excess >= 0 and (worst is None or excess > worst[0]):
            sentence = (
                f"{100 * share:.0f} % of the answers to {task} are {answer!r}; of the dense "
                f"model's the most common one makes up {100 * usual:.0f} %."
            )
            found = Signature(
                name="one_answer", value=share, threshold=threshold, sentence=sentence
            )
            worst = (excess, found)
    return worst[1] if worst else None


def most_common(answers: Sequence[str]) -> tuple[str, float]:
    """The most common answer, case and blanks aside, and its share; ties go to the earlier one."""
    ((answer, count),) = Counter(a.strip().lower() for a in answers).most_common(1)
    return answer, count / len(answers)


def kd_only_instability(
    loss: LossSpec, skipped_steps: int, curve: Sequence[float]
) -> Signature | None:
    """Training on distillation alone (alpha = 0) that skipped steps, or whose loss rose again.

    The value is the number of skipped steps, or else the rise: the mean of the curve's last tenth
    over that of its lowest earlier tenth.
    """
    if loss.alpha > 0:
        return None
    if skipped_steps > 0:
        return Signature(
            name="kd_only_instability",
            value=float(skipped_steps),
            threshold=1.0,
            sentence=f"{skipped_steps} steps of a recovery on {loss.terms} alone were skipped, "
            "their loss not being finite or spiking; some cross-entropy may steady it.",
        )
    rise = rise_at_end(curve)
    if rise is None or rise < RISE:
        return None
    return Signature(
        name="kd_only_instability",
        value=rise,
        threshold=RISE,
        sentence=f"The loss of a recovery on {loss.terms} alone ended at {rise:.1f} times its "
        "lowest level; lower the learning rate or add cross-entropy.",
    )


def diverged(loss: LossSpec) -> tuple[Signature, ...]:
    """The signature of a recovery that was given up because its loss was not finite any more."""
    if loss.alpha > 0:
        return ()
    sentence = (
        f"A recovery on {loss.terms} alone diverged and was given up; lower the learning rate or "
        "add cross-entropy."
    )
    lost = Signature(name="kd_only_instability", value=1.0, threshold=1.0, sentence=sentence)
    return (lost,)


def training_made_it_worse(
    recovery: RecoveryReport,
    trained: EvaluationReport,
    untrained: EvaluationReport | None,
    difference: Comparison | None,
    kept: Kept,
) -> Signature | None:
    """The held-out loss rose, or the average fell below that of the untrained student.

    Either by more than the draw of conversations or questions explains: the paired 95 % interval
    lies beyond no change. One standard error would accuse a sixth of the trainings that change
    nothing, these intervals a fortieth each.

    The value is the loss after the training and the threshold that before it, where it rose; else
    they are the two averages.

    Args:
        recovery: with the held-out loss.
        trained: scores on the search split.
        untrained: those of the same student as it was pruned, None where there are none.
        difference: trained against untrained; only looked at where the average fell.
        kept: which of them is the trial's.
    """
    found: list[str] = []
    ends: list[tuple[float, float]] = []
    if untrained is not None:
        value, threshold = trained.average, untrained.average
        fell = difference is not None and difference.high < 0
        text = f"the average {'fell' if fell else 'went'} from {threshold:.1f} to {value:.1f}"
        if fell and difference is not None:
            text += f" (by {-difference.high:.1f} to {-difference.low:.1f} points)"
        found.append(text)
        ends += [(value, threshold)] if fell else []
    if recovery.loss_rose_beyond_noise:
        before, after = recovery.held_out_before or 0.0, recovery.held_out_after or 0.0
        found.insert(0, f"the loss of held-out conversations rose from {before:.3g} to {after:.3g}")
        ends.insert(0, (after, before))
    if not ends:
        return None
    value, threshold = ends[0]
    return Signature(
        name="training_made_it_worse",
        value=value,
        threshold=threshold,
        sentence=f"In training {' and '.join(found)}; the student is kept as it was "
        f"{'pruned' if kept == 'untrained' else 'trained'}.",
    )


def rise_at_end(curve: Sequence[float]) -> float | None:
    """Mean of the last tenth over the lowest mean of the nine before; None for a short curve."""
    if len(curve) < LEAST_STEPS:
        return None
    means = [float(np.mean(part)) for part in np.array_split(np.asarray(curve), 10)]
    lowest = min(means[:-1])
    return means[-1] / lowest if lowest > 0 else None


def image_not_used(evaluation: EvaluationReport) -> Signature | None:
    """The image is worth less than a quarter of what it is worth to the dense model, in points."""
    gain, usual = evaluation.image_gain, evaluation.dense_image_gain
    if gain is None or usual is None or usual < LEAST_GAIN:
        return None
    share = gain / usual
    if share >= IMAGE_SHARE:
        return None
    return Signature(
        name="image_not_used",
        value=share,
        threshold=IMAGE_SHARE,
        sentence=f"With the image the average is only {gain:.1f} points above that with a blank "
        f"one; for the dense model it is {usual:.1f} points.",
    )


def weighted_curve(folder: Path, recovery: RecoveryReport, loss: LossSpec) -> Sequence[float]:
    """The weighted loss of each applied step, from the recovery's curves; empty without any."""
    if recovery.curves is None or not (folder / recovery.curves).exists():
        return ()
    lines = (folder / recovery.curves).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [
        sum(weight * row[name] for name, weight in loss.weights.items())
        for row in rows
        if "skipped" not in row and all(row.get(name) is not None for name in loss.weights)
    ]
