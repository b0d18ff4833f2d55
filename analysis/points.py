"""One trial as a flat, frozen row on one split: what tables, files and pictures show of it."""

from typing import Any, Literal

from pydantic import Field

from analysis.axes import AXES
from analysis.latencies import Latencies
from analysis.load import Trial
from trainables.records import EvaluationReport
from trainables.specs import Frozen, Origin, Split

ONE_SIDED = 1.645  # 95 % quantile of the normal distribution

Standing = Literal["certain", "certainly dominated", "within noise"]


class Point(Frozen, extra="allow"):
    """A trial on one split.

    Axes of `AXES` that are no field here stand after the fields, under their names.

    Attributes:
        label: readable name, not unique.
        origin: `designed`, `prior`, `sampler`, `reference` (an unpruned model), or `confirm` (a
            repeat with other seeds).
        method: of pruning; `none` for a reference.
        ratio_target: fraction of the language model that was asked to go; `ratio` is what went,
            `kept` what stayed.
        scope: what recovery trained.
        loss_terms: active loss terms; `none` without recovery.
        alpha: weight of CE, 0 without recovery; so are `beta` of the logits term, `gamma` of the
            hidden-state term and `data_fraction` of the training conversations.
        learning_rate: peak rate; None without recovery.
        lora_rank: rank of the update; None unless the scope is `joint`.
        latency_ms: that of its architecture, pooled over the sweep's measurements (`latencies.py`),
            with its 95 % interval, `latency_lower_ms` to `latency_upper_ms`.
        recovery_tflops: nominal cost of the recovery; 0 of a model that needs none.
        average: mean task score, 0..100, on `split`, with its standard error `average_se`.
        retention: average / dense average as measured; `retention_se` its standard error.
        retention_corrected: the same without what the choice among the sweep's models adds, with
            `retention_low` and `retention_high` the 95 % interval that holds for the chosen one
            (`choice.py`); of a point that did not compete as measured, and by itself.
        above_chance: (average - chance) / (dense average - chance); None without chance levels.
        search_retention: retention on the search split, by which the trial was chosen.
        samples: number of scored samples.
        factors: those that the sweep brings itself, by name.
        kept_untrained: whether the model is as it was pruned, because training made it no better.
        signs: names of the known ways to fail that the trial shows, joined by `+`; mostly empty.
        standing: as `standing.py` defines it; None for a point that did not compete.
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
    retention_corrected: float
    retention_low: float
    retention_high: float
    above_chance: float | None
    search_retention: float | None
    samples: int
    factors: dict[str, Any] = Field(default_factory=dict)
    kept_untrained: bool = False
    signs: str = ""
    standing: Standing | None = None

    def value(self, axis: str) -> float | None:
        """The value on `axis`; None where nothing was measured."""
        value: float | None = getattr(self, axis)
        return value

    def cost(self, axis: str) -> float:
        """The value on `axis` so that less is better; 0 where nothing was measured."""
        return AXES[axis].cost(self.value(axis))

    @classmethod
    def columns(cls) -> list[str]:
        """The names under which a file holds a point, besides the sweep's own factors."""
        fields = [name for name in cls.model_fields if name != "factors"]
        return [*fields, *(name for name in AXES if name not in fields)]

    @property
    def row(self) -> dict[str, Any]:
        """The values of the columns, and the sweep's own factors."""
        own = {f"factor/{name}": value for name, value in self.factors.items()}
        return self.model_dump(exclude={"factors"}) | own


def point_of(trial: Trial, split: Split, latencies: Latencies | None = None) -> Point | None:
    """The trial's row on `split`, with its share of the sweep's pooled `latencies`.

    None when it has no retention there. Without `latencies` its latency is as measured.
    """
    evaluation = trial.evaluation(split)
    retention, retention_se = trial.retention(split)
    if evaluation is None or retention is None:
        return None
    low, high = evaluation.retention_interval
    recovery = trial.record.spec.recovery
    alpha, beta, gamma = trial.weights
    own: dict[str, Any] = {n: v for n, v in trial.axes.items() if not n.startswith("retention")}
    fastest, slowest = None, None
    if latencies is not None and trial.latency is not None:
        own["latency_ms"] = latencies.milliseconds(trial.trial_id)
        fastest, slowest = latencies.interval(trial.trial_id)
    return Point(
        trial_id=trial.trial_id,
        label=trial.label,
        origin=trial.record.origin,
        method=trial.method,
        ratio_target=trial.ratio_target,
        scope=recovery.scope if trial.loss else "none",
        loss_terms=trial.loss.terms if trial.loss else "none",
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        data_fraction=trial.data_fraction,
        learning_rate=trial.learning_rate,
        lora_rank=recovery.lora_rank if trial.loss and recovery.scope == "joint" else None,
        latency_lower_ms=fastest,
        latency_upper_ms=slowest,
        **own,
        split=split,
        average=evaluation.average,
        average_se=evaluation.average_se,
        retention=retention,
        retention_se=retention_se,
        retention_corrected=retention,
        retention_low=low,
        retention_high=high,
        above_chance=above_chance(evaluation),
        search_retention=trial.retention("search")[0],
        factors=trial.record.factors,
        kept_untrained=trial.record.kept == "untrained",
        signs="+".join(s.name for s in trial.record.signatures),
        samples=sum(task.samples for task in evaluation.tasks.values()),
    )


def chance_average(evaluation: EvaluationReport) -> float | None:
    """The mean chance level of the tasks; None unless every task has one."""
    levels = [task.chance for task in evaluation.tasks.values() if task.chance is not None]
    if not levels or len(levels) < len(evaluation.tasks):
        return None
    return sum(levels) / len(levels)


def is_guessing(evaluation: EvaluationReport) -> bool:
    """Whether the average is not better than guessing, at a one-sided level of 5 %.

    Of a task whose chance level is not known little is called guessing.
    """
    return evaluation.average <= guessed_average(evaluation) + ONE_SIDED * evaluation.average_se


def guessed_average(evaluation: EvaluationReport) -> float:
    """What guessing scores; a task whose chance level is not known counts with 0."""
    levels = [task.chance or 0.0 for task in evaluation.tasks.values()]
    return sum(levels) / len(levels)


def above_chance(evaluation: EvaluationReport) -> float | None:
    """(average - chance) / (dense average - chance): 0 is guessing, 1 is the dense model."""
    chance = chance_average(evaluation)
    if chance is None:
        return None
    dense = evaluation.average if evaluation.dense_average is None else evaluation.dense_average
    return (evaluation.average - chance) / (dense - chance) if dense > chance else None
