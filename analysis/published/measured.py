"""What sweeps measured, by the settings of the study's tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from analysis.load import Trial
from analysis.published.entries import (
    AVERAGE,
    COSTS,
    LATENCY,
    MEMORY,
    RETENTION,
    TFLOPS,
    Setting,
    Value,
    Values,
)
from trainables.records import EvaluationReport
from trainables.specs import Origin, Seeds, Split

FEW = 0.05  # of the data: the study's recoveries
ORDER: tuple[Origin, ...] = ("reference", "designed", "prior", "sampler", "confirm")


@dataclass(frozen=True)
class Measured:
    """The trials that fill cells.

    Attributes:
        split: of the scores.
        values: by setting.
        trials: `sweep/trial` of those that were averaged, over seeds, by setting.
        untrained: settings whose trials kept the student as it was pruned.
        fractions: shares of the data that were trained on, where a setting leaves it open.
    """

    split: Split
    values: Mapping[Setting, Values]
    trials: Mapping[Setting, tuple[str, ...]]
    untrained: frozenset[Setting] = frozenset()
    fractions: tuple[float, ...] = ()


def measured(
    trials: Sequence[Trial], settings: Iterable[Setting], tasks: Sequence[str] = ()
) -> Measured:
    """The cells that completed trials fill, on the report split if as many can be filled there.

    Of several configurations of a setting the one that was designed comes first, then the one with
    the share of the data that is nearest to the study's 5 %; seeds of one are averaged. Costs of a
    pruned model are those of any recovery of it. Of trials that were scored on all of `tasks` and
    more those count alone.
    """
    wanted, some = list(settings), [_on_tasks(trial, tasks) for trial in trials]
    search, report = _on(some, wanted, "search"), _on(some, wanted, "report")
    searched, reported = (
        sum(RETENTION in values.results for values in found.values.values())
        for found in (search, report)
    )
    return report if reported >= searched and reported else search


def setting_of(trial: Trial) -> Setting | None:
    """What was done in a trial, its share of the data included; None where no table has it."""
    spec = trial.record.spec
    if trial.is_dense:
        return Setting()
    if trial.is_reference or spec.recovery.scope == "full":
        return None
    pruned = spec.pruning.prunes
    loss = trial.loss
    return Setting(
        method=spec.pruning.method if pruned else "dense",
        ratio=round(trial.ratio_target, 2) if pruned else 0.0,
        scope=spec.recovery.scope if loss else "none",
        terms=loss.terms if loss else "",
        hidden_layers=loss.hidden_layers if loss and loss.gamma else 1,
        quantization=spec.quantization,
        data_fraction=trial.data_fraction if loss else None,
    )


def _on_tasks(trial: Trial, tasks: Sequence[str]) -> Trial:
    """The trial as it would be if only these tasks had been asked, where others were besides."""

    def less(scores: EvaluationReport | None) -> EvaluationReport | None:
        if scores is None or not set(tasks) < set(scores.tasks):
            return scores
        own = {task: scores.tasks[task] for task in tasks}
        average = fmean(task.score for task in own.values())
        error = math.hypot(*(task.stderr for task in own.values())) / len(own)
        dense = [task.paired.dense for task in own.values() if task.paired]
        base = fmean(dense) if len(dense) == len(own) else None
        return EvaluationReport(
            split=scores.split,
            tasks=own,
            average=average,
            average_se=error,
            dense_average=base,
            retention=average / base if base else None,
        )

    report = trial.report
    if report is not None:
        report = report.model_copy(update={"evaluation": less(report.evaluation)})
    record = trial.record.model_copy(update={"evaluation": less(trial.record.evaluation)})
    return replace(trial, record=record, report=report)


def _on(trials: Sequence[Trial], wanted: Sequence[Setting], split: Split) -> Measured:
    by_setting: dict[Setting, list[Trial]] = {}
    costs: dict[Setting, dict[str, Value]] = {}
    done = sorted(
        (t for t in trials if t.record.status == "completed"),
        key=lambda t: (ORDER.index(t.record.origin), abs(t.data_fraction - FEW)),
    )
    for trial in done:
        if (setting := setting_of(trial)) is None:
            continue
        own = {k: v for k, v in _results(trial, split).items() if k in COSTS}
        costs.setdefault(setting.pruned_alone, own)
        if trial.evaluation(split) is not None:
            for known in {setting, replace(setting, data_fraction=None)}:
                by_setting.setdefault(known, []).append(trial)
    values: dict[Setting, Values] = {}
    names: dict[Setting, tuple[str, ...]] = {}
    untrained, fractions = set[Setting](), set[float]()
    for setting in wanted:
        found = by_setting.get(setting, [])
        first: dict[Seeds, Trial] = {}
        for trial in found:
            if _repeats(trial, found[0]):
                first.setdefault(trial.record.seeds, trial)
        same = list(first.values())
        results = costs.get(setting.pruned_alone, {}) | _mean([_results(t, split) for t in same])
        values[setting] = Values(_mean([_scores(t, split) for t in same]), results)
        names |= {setting: tuple(f"{t.record.sweep}/{t.trial_id}" for t in same)} if same else {}
        untrained |= {setting for t in same if t.record.kept == "untrained"}
        fractions |= {t.data_fraction for t in same if t.loss and setting.data_fraction is None}
    return Measured(split, values, names, frozenset(untrained), tuple(sorted(fractions)))


def _repeats(one: Trial, other: Trial) -> bool:
    return one.record.spec.configuration == other.record.spec.configuration


def _scores(trial: Trial, split: Split) -> dict[str, Value]:
    scores = trial.evaluation(split)
    return {
        name: Value(estimate=task.score if task.raw is None else task.raw)
        for name, task in (scores.tasks if scores else {}).items()
    }


def _results(trial: Trial, split: Split) -> dict[str, Value]:
    scores, (retention, error) = trial.evaluation(split), trial.retention(split)
    found: dict[str, Value] = {}
    if scores is not None:
        found[AVERAGE] = Value(estimate=scores.average, error=scores.average_se)
    if retention is not None:
        found[RETENTION] = Value(estimate=100 * retention, error=error and 100 * error)
    for name, axis in ((MEMORY, "weights_mib"), (TFLOPS, "tflops"), (LATENCY, "latency_ms")):
        if (value := trial.axes[axis]) is not None:
            found[name] = Value(estimate=value)
    return found


def _mean(every: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    """Means over seeds; the error stays that of the questions, which are the same for all."""
    found = {}
    for name in every[0] if every else ():
        some = [values[name] for values in every if name in values]
        errors = [value.error for value in some if value.error is not None]
        estimate = fmean(value.estimate for value in some)
        found[name] = Value(estimate=estimate, error=fmean(errors) if errors else None)
    return found
