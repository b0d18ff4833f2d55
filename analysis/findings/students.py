"""Students that claims are tested on: a sweep's trials, or the study's printed rows, as one value.

What counts is the student as it was trained: where a trial kept the untrained one, because training
made it worse, its scores are those that the record holds of the trained one (on the search split).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.load import Trial
from analysis.points import guessed_average
from trainables.records import EvaluationReport
from trainables.specs import Method, Origin, Scope, Seeds, Split, digest

ORDER: tuple[Origin, ...] = ("designed", "prior", "sampler", "confirm")
# Of a recovery: what belongs to its scope and the loss; the rest is its length and its data.
RATE = ("learning_rate", "lora_rank", "lora_alpha", "lora_dropout", "lora_targets")
OF_LOSS = ("loss", "teacher")
# Of a pruning: what one method reads and the other leaves idle.
WAY = ("units", "ranking", "depth", "protect_heads", "protect_neurons", "neuron_multiple")


@dataclass(frozen=True)
class Scores:
    """On one split, in points: 100 is the dense model.

    Attributes:
        retention: with its standard error `error`, which is None where there are no samples.
        lost: share of what the dense model does better than guessing that is gone, with
            `lost_error`; at most 100. A task whose chance level is not known counts with 0.
    """

    retention: float
    error: float | None
    lost: float
    lost_error: float | None


@dataclass(frozen=True)
class Student:
    """A pruned model, recovered or not.

    Attributes:
        name: `sweep/trial`.
        size: what was asked for, in short; `ratio` is the fraction of the language model.
        settings: everything else that decides it, in pieces that are the same or not.
        seeds: None for a row that the study printed.
        scores: by split.
        trial: where its answers are kept; None where they are not those of the scores.
    """

    name: str
    origin: Origin
    method: Method
    size: str
    ratio: float
    scope: Scope
    terms: str
    data_fraction: float
    settings: Mapping[str, str]
    seeds: Seeds | None
    scores: Mapping[Split, Scores]
    trial: Trial | None = field(default=None, compare=False)

    @property
    def printed(self) -> bool:
        """Whether the study printed it: without an error, and taken as it stands."""
        return self.seeds is None

    def alike(self, other: Student, *varies: str | None) -> bool:
        """Whether both differ in nothing but what `varies`, and the seeds."""
        free = {*varies} | ({"rate"} if "scope" in varies else set())
        free |= {"way"} if "method" in varies else set()
        ours, theirs = self.settings, other.settings
        return all(ours[name] == theirs[name] for name in ours.keys() - free)


def students(trials: Sequence[Trial]) -> list[Student]:
    """The completed trials that are pruned and have scores, the designed ones first."""
    found = [student for trial in trials if (student := _student(trial)) is not None]
    return sorted(found, key=lambda s: ORDER.index(s.origin))


def _student(trial: Trial) -> Student | None:
    record, spec = trial.record, trial.record.spec
    if record.status != "completed" or trial.is_reference or not spec.pruning.prunes:
        return None
    as_scored = trial.loss is None or record.kept == "trained"
    reports: dict[Split, EvaluationReport | None] = {
        "search": record.as_trained if trial.loss else record.evaluation,
        "report": trial.evaluation("report") if as_scored else None,
    }
    scores = {split: found for split, r in reports.items() if r and (found := _scores(r))}
    if not scores:
        return None
    recovery = spec.recovery.canonical()
    pruning = spec.pruning.model_dump(mode="json", exclude={"method", "ratio", "size"})
    parts = {
        "scope": recovery.pop("scope"),
        "rate": {name: recovery.pop(name, None) for name in RATE},
        "loss": {name: recovery.pop(name, None) for name in OF_LOSS},
        "recovery": recovery,
        "method": spec.pruning.method,
        "size": spec.pruning.amount,
        "way": {name: pruning.pop(name) for name in WAY},
        "pruning": pruning,
        "quantization": spec.quantization,
        "tasks": sorted({task for report in reports.values() if report for task in report.tasks}),
        "data": record.provenance.data_digest if trial.loss else None,
        "weights": record.provenance.weights_digest,
    }
    return Student(
        name=f"{record.sweep}/{trial.trial_id}",
        origin=record.origin,
        method=spec.pruning.method,
        size=spec.pruning.amount,
        ratio=trial.ratio_target,
        scope=spec.recovery.scope,
        terms=trial.loss.terms if trial.loss else "",
        data_fraction=trial.data_fraction,
        settings={name: digest(value) for name, value in parts.items()},
        seeds=spec.seeds,
        scores=scores,
        trial=trial if as_scored else None,
    )


def _scores(report: EvaluationReport) -> Scores | None:
    if report.retention is None or report.dense_average is None:
        return None
    dense, chance = report.dense_average, guessed_average(report)
    # Where the dense model itself guesses there is nothing that could be lost.
    scale = dense / (dense - chance) if dense > chance else 1.0
    error = None if report.retention_se is None else 100 * report.retention_se
    lost = min(100 * (1 - report.retention) * scale, 100.0)
    return Scores(100 * report.retention, error, lost, None if error is None else scale * error)
