"""One trial as a flat, frozen row on one split: what tables, files and pictures show of it."""

from __future__ import annotations

from typing import Literal

from analysis.load import Z_95, Trial
from trainables.records import EvaluationReport
from trainables.specs import Frozen, Origin, Split

Standing = Literal["certain", "within noise"]


class Point(Frozen):
    """A trial on one split.

    Attributes:
        trial_id: id in the ledger.
        label: readable name, not unique.
        origin: `designed`, `prior`, `sampler`, `reference` (an unpruned model), or `confirm` (a
            repeat with other seeds).
        method: `layerwise`, `widthwise`, or `none` for a reference.
        ratio_target: fraction of the language model that was asked to go.
        ratio: fraction that went.
        kept: fraction that stayed, 1 - `ratio`.
        scope: what recovery trained.
        loss_terms: active loss terms; `none` without recovery.
        alpha: weight of CE; 0 without recovery, as are beta and gamma.
        beta: weight of the logits term.
        gamma: weight of the hidden-state term.
        data_fraction: share of the training conversations; 0 without recovery.
        learning_rate: peak rate; None without recovery.
        lora_rank: rank of the update; None unless the scope is `joint`.
        lm_params: parameters of the language model.
        weights_mib: weight memory of the whole model.
        memory_mib: memory while it answers one prompt, computed: weights, KV cache, activations.
        tflops: work of one image and one prompt.
        latency_ms: median latency; `latency_lower_ms` and `latency_upper_ms` are its quartiles.
        recovery_tflops: nominal cost of the recovery.
        split: the split of the scores below.
        average: mean task score, 0..100, and its standard error `average_se`.
        retention: average / dense average; `retention_se` its standard error,
            `retention_low` and `retention_high` its 95 % interval: the record's bootstrap, or
            1.96 standard errors where an older record has none.
        above_chance: (average - chance) / (dense average - chance); None without chance levels.
        search_retention: retention on the search split, by which the trial was chosen.
        samples: number of scored samples.
        signs: names of the known ways to fail that the trial shows, joined by `+`; mostly empty.
        standing: `certain` or `within noise`, as `standing.py` defines them for points of the
            frontier and for the others; None for a point that did not compete.
    """

    trial_id: str
    label: str
    origin: Origin
    method: str
    ratio_target: float
    ratio: float | None
    kept: float | None
    scope: str
    loss_terms: str
    alpha: float
    beta: float
    gamma: float
    data_fraction: float
    learning_rate: float | None
    lora_rank: int | None
    lm_params: int | None
    weights_mib: float | None
    memory_mib: float | None
    tflops: float | None
    latency_ms: float | None
    latency_lower_ms: float | None
    latency_upper_ms: float | None
    recovery_tflops: float | None
    split: Split
    average: float
    average_se: float
    retention: float
    retention_se: float | None
    retention_low: float
    retention_high: float
    above_chance: float | None
    search_retention: float | None
    samples: int
    signs: str = ""
    standing: Standing | None = None

    def value(self, axis: str) -> float | None:
        """The value on `axis`; None where nothing was measured."""
        value: float | None = getattr(self, axis)
        return value


def point_of(trial: Trial, split: Split) -> Point | None:
    """The trial's row on `split`; None when it has no retention there."""
    evaluation = trial.evaluation(split)
    retention, retention_se = trial.retention(split)
    if evaluation is None or retention is None:
        return None
    low, high = evaluation.retention_low, evaluation.retention_high
    if low is None or high is None:
        half = Z_95 * (retention_se or 0.0)
        low, high = retention - half, retention + half
    recovery = trial.record.spec.recovery
    lm_params = trial.axes["lm_params"]
    alpha, beta, gamma = trial.weights
    return Point(
        trial_id=trial.trial_id,
        label=trial.label,
        origin=trial.record.origin,
        method=trial.method,
        ratio_target=trial.ratio_target,
        ratio=trial.axes["ratio"],
        kept=trial.axes["kept"],
        scope=recovery.scope if trial.loss else "none",
        loss_terms=trial.loss.terms if trial.loss else "none",
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        data_fraction=trial.data_fraction,
        learning_rate=recovery.resolved_learning_rate if trial.loss else None,
        lora_rank=recovery.lora_rank if trial.loss and recovery.scope == "joint" else None,
        lm_params=None if lm_params is None else int(lm_params),
        weights_mib=trial.axes["weights_mib"],
        memory_mib=trial.axes["memory_mib"],
        tflops=trial.axes["tflops"],
        latency_ms=trial.axes["latency_ms"],
        latency_lower_ms=trial.latency.lower_ms if trial.latency else None,
        latency_upper_ms=trial.latency.upper_ms if trial.latency else None,
        recovery_tflops=trial.axes["recovery_tflops"],
        split=split,
        average=evaluation.average,
        average_se=evaluation.average_se,
        retention=retention,
        retention_se=retention_se,
        retention_low=low,
        retention_high=high,
        above_chance=above_chance(evaluation),
        search_retention=trial.retention("search")[0],
        signs="+".join(s.name for s in trial.record.signatures),
        samples=sum(task.samples for task in evaluation.tasks.values()),
    )


def chance_average(evaluation: EvaluationReport) -> float | None:
    """The mean chance level of the tasks; None unless every task has one."""
    levels = [task.chance for task in evaluation.tasks.values() if task.chance is not None]
    if not levels or len(levels) < len(evaluation.tasks):
        return None
    return sum(levels) / len(levels)


def above_chance(evaluation: EvaluationReport) -> float | None:
    """(average - chance) / (dense average - chance): 0 is guessing, 1 is the dense model."""
    chance = chance_average(evaluation)
    if chance is None:
        return None
    dense = evaluation.average if evaluation.dense_average is None else evaluation.dense_average
    return (evaluation.average - chance) / (dense - chance) if dense > chance else None
