"""Trials that differ in their seeds alone, together; and what their samples say about questions.

A configuration is everything that a trial was asked to do but its seeds. The search runs each one
once; the confirm stage repeats the best and the baselines with other seeds (origin `confirm`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.load import Trial
from analysis.samples import trial_samples
from trainables.records.clusters import Floats, difference_variances, image_sums
from trainables.specs import Split


@dataclass(frozen=True)
class Configuration:
    """The completed trials of one configuration, oldest first."""

    key: str
    trials: tuple[Trial, ...]

    @property
    def first(self) -> Trial:
        """The search's own trial; a repeat where that one did not complete."""
        return next((t for t in self.trials if not t.is_confirmation), self.trials[0])

    @property
    def confirmations(self) -> dict[int, Trial]:
        """The trials of the confirm stage that were scored on the report split, by seed."""
        repeated = (t for t in self.trials if t.is_confirmation and t.report is not None)
        return {t.record.seeds.train: t for t in repeated}

    def by_seed(self) -> dict[int, Trial]:
        """One trial per seed; a rerun of the same seed is left out."""
        trials: dict[int, Trial] = {}
        for trial in self.trials:
            trials.setdefault(trial.record.seeds.train, trial)
        return trials

    def mean(self, split: Split) -> float:
        """Mean retention of all its trials on `split`."""
        values = (t.retention(split)[0] for t in self.trials)
        return float(np.mean([v for v in values if v is not None]))


def configurations(trials: Sequence[Trial]) -> list[Configuration]:
    """The sweep's own completed trials by configuration, in the order of their first trials."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.record.status == "completed" and not trial.is_reference:
            groups.setdefault(trial.record.spec.configuration, []).append(trial)
    return [Configuration(key, tuple(group)) for key, group in groups.items()]


def image_influences(trial: Trial) -> dict[str, float] | None:
    """How much the questions about each image move the trial's report-split retention.

    Sum over the questions i of an image of w_i (s_i - a_t) / (sum w * T * D), with s_i the score,
    a_t the mean of its task, T tasks and D the dense average: the influences that standard errors
    are made of. They are linear, so those of a mean or a difference of trials are the mean or the
    difference of theirs. None where the samples were not kept.
    """
    report = trial.evaluation("report")
    samples = trial_samples(trial, "report")
    if samples is None or report is None or not report.dense_average:
        return None
    images, sums = image_sums(samples.images, samples.influences / report.dense_average)
    return dict(zip(images, sums.tolist(), strict=True))


def question_errors(groups: Sequence[Sequence[Trial]]) -> Floats | None:
    """[C, C] standard errors of differences in mean retention that the choice of questions makes.

    Clustered by image and paired: both configurations answered the same questions. What is left of
    the seeds' noise in a mean over few of them counts here too, so the errors are a little too
    large rather than too small. None unless every trial's samples were kept.

    Args:
        groups: the trials of each of C configurations.
    """
    found = [[image_influences(t) for t in group] for group in groups]
    kept = [[i for i in group if i is not None] for group in found]
    if any(len(k) < len(f) for k, f in zip(kept, found, strict=True)):
        return None
    images = sorted({image for group in kept for one in group for image in one})
    means = np.array(
        [np.mean([[one.get(i, 0.0) for i in images] for one in group], axis=0) for group in kept]
    )
    return np.sqrt(difference_variances(means)) if len(images) > 1 else None
