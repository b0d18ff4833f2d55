"""Trials as the ledger holds them, each with its flat axes; imports no torch, ray or mlflow."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import RootModel

from analysis.axes import AXES, quiet_latency, retention_of
from analysis.bases import note_on, other_bases
from trainables.common.files import read_if_sound, reading_many
from trainables.common.names import nearest
from trainables.records import (
    RECORD,
    REPORT,
    SWEEP,
    ClosingReport,
    EvaluationReport,
    Latency,
    TrialRecord,
    quoted_scores,
)
from trainables.specs import LossSpec, ModelSpec, Origin, Split, TrialSpec


@dataclass(frozen=True)
class Trial:
    """One finished trial: its record, its closing report once there is one, and its axes.

    Attributes:
        record: the truth about the trial.
        report: report-split scores and quiet latency, for the candidates of the closing pass.
        axes: the value on every axis of `AXES` and `retention_se`; None where nothing was measured.
            Scores are those of `split`.
        split: `report` when there is a closing report, `search` when only the record was scored,
            None for a trial without scores.
        folder: the trial's folder in the ledger; None for a trial that was not read from disk.
    """

    record: TrialRecord
    report: ClosingReport | None
    axes: dict[str, float | None]
    split: Split | None
    folder: Path | None = None

    @property
    def trial_id(self) -> str:
        """The id under which the ledger holds the trial."""
        return self.record.trial_id

    @property
    def is_reference(self) -> bool:
        """Whether this is an unpruned model that stands beside the sweep's own trials."""
        return self.record.origin == "reference"

    @property
    def is_confirmation(self) -> bool:
        """Whether it repeats another trial with other seeds, to confirm it; it never competes."""
        return self.record.origin == "confirm"

    @property
    def is_dense(self) -> bool:
        """Whether this is the dense base itself: the reference against which retention is taken."""
        evaluation = self.record.evaluation
        return self.is_reference and evaluation is not None and evaluation.retention is None

    @property
    def latency(self) -> Latency | None:
        """The quiet latency of the closing pass, else the one that the record holds."""
        return quiet_latency(self.record, self.report)

    def evaluation(self, split: Split) -> EvaluationReport | None:
        """The scores on `split`; None when the trial was not scored there."""
        if split == "report":
            return self.report.evaluation if self.report else None
        return self.record.evaluation

    def retention(self, split: Split) -> tuple[float | None, float | None]:
        """(retention, its standard error) on `split`; (1.0, 0.0) for the dense base itself."""
        return retention_of(self.record, self.evaluation(split))

    @property
    def trained_retention(self) -> float | None:
        """Search-split retention of the student that was trained, even if it was not kept."""
        return retention_of(self.record, self.record.as_trained)[0]

    @property
    def weights(self) -> tuple[float, float, float]:
        """(alpha, beta, gamma) as they acted: zeros for a trial that was not trained."""
        loss = self.loss
        return (loss.alpha, loss.beta, loss.gamma) if loss else (0.0, 0.0, 0.0)

    @property
    def loss(self) -> LossSpec | None:
        """The loss of the recovery; None where there was none."""
        recovery = self.record.spec.recovery
        return None if self.is_reference or recovery.scope == "none" else recovery.loss

    @property
    def learning_rate(self) -> float | None:
        """The peak rate of the recovery, asked for where it never began; None if there was none."""
        if self.loss is None:
            return None
        done = self.record.recovery
        return (done and done.learning_rate) or self.record.spec.recovery.resolved_learning_rate

    @property
    def data_fraction(self) -> float:
        """The share of the training conversations that was used: 0 for a trial without recovery."""
        return self.record.spec.recovery.data_fraction if self.loss else 0.0

    @property
    def method(self) -> str:
        """How the language model was pruned; `none` for a reference."""
        return "none" if self.is_reference else self.record.spec.pruning.method

    @property
    def ratio_target(self) -> float:
        """The ratio that was asked for."""
        report = self.record.pruning
        return report.target_ratio if report else self.record.spec.pruning.ratio

    @property
    def label(self) -> str:
        """A readable name, e.g. `layerwise 0.45 joint ce+l2 20% data`; not unique."""
        if self.is_dense:
            return "dense"
        if self.is_reference:
            return self.record.spec.model.path
        record = self.record
        label = label_of(record.spec, record.origin, record.factors, self.ratio_target)
        return label if record.kept == "trained" else f"{label}, kept untrained"


def label_of(
    spec: TrialSpec, origin: Origin, factors: Mapping[str, Any], ratio: float | None = None
) -> str:
    """The name of a trial that was asked for; `ratio` is what its size came to, if it is known.

    `factors` are the sweep's own; of a dotted path the last part is shown, unless it is usual.
    """
    if origin == "reference":
        return "dense" if spec.baseline is None else spec.model.path
    pruning, recovery = spec.pruning, spec.recovery
    amount = pruning.amount if ratio is None else f"{ratio:.2f}"
    pruned = f"{pruning.method} {amount}" if pruning.prunes else "unpruned"
    last: list[str] = [] if spec.quantization == "none" else [spec.quantization]
    for name, value in factors.items():
        if "." in name and value == functools.reduce(_field, name.split("."), _usual()):
            continue
        shown = f"{value:.4g}" if isinstance(value, float) else value
        last.append(f"{name.rpartition('.')[2]}={shown}")
    if recovery.scope == "none":
        return " ".join([pruned, "no recovery", *last])
    data = f"{100 * recovery.data_fraction:.3g}% data"
    return " ".join([pruned, recovery.scope, recovery.loss.terms, data, *last])


@functools.cache
def _usual() -> TrialSpec:
    return TrialSpec(model=ModelSpec(path=""))


def _field(part: Any, name: str) -> Any:
    return getattr(part, name, None)  # a part may be unset


def trial_of(
    record: TrialRecord, report: ClosingReport | None = None, folder: Path | None = None
) -> Trial:
    """The trial of a record and, when the closing pass has reached it, of its closing report."""
    scores = quoted_scores(record, report)
    axes = {axis.name: axis.read(record, report) for axis in AXES.values()}
    _, axes["retention_se"] = retention_of(record, scores)
    return Trial(record, report, axes, scores.split if scores else None, folder)


@dataclass(frozen=True)
class Loaded:
    """The trials of a sweep.

    Attributes:
        trials: those of its base, which may be ranked together.
        others: ids of those of another base.
        note: a sentence on the others; empty where there are none.
    """

    trials: list[Trial]
    others: frozenset[str] = frozenset()
    note: str = ""


def load_trials(folder: Path, *, records: Mapping[str, TrialRecord] | None = None) -> list[Trial]:
    """The trials of `load_sweep_trials` that may be ranked together."""
    return load_sweep_trials(folder, records=records).trials


def load_sweep_trials(folder: Path, *, records: Mapping[str, TrialRecord] | None = None) -> Loaded:
    """Every trial of a sweep that has a record, in the order of the ids.

    A trial that has only a spec is still running (or was interrupted) and is left out, and so is
    one whose record is damaged, which is said once.

    Args:
        folder: the sweep's folder in the ledger.
        records: those that were read already, by trial id; a record is never rewritten.

    Raises:
        ValueError: the folder is not a sweep's.
    """
    if not folder.is_dir():
        found = sorted(p.parent.name for p in folder.parent.glob(f"*/{SWEEP}"))
        raise ValueError(
            f"'{folder}' is not a folder; sweeps in '{folder.parent}': "
            f"{', '.join(found) or 'none'}{nearest(folder.name, found)}. "
            "`prunesweep run` starts one."
        )
    trials = []
    with reading_many():
        for name in sorted(os.listdir(folder / "trials")) if (folder / "trials").is_dir() else ():
            home = f"{folder}/trials/{name}"
            record = (records or {}).get(name) or read_if_sound(f"{home}/{RECORD}", TrialRecord)
            if record is not None:
                report = read_if_sound(f"{home}/{REPORT}", ClosingReport)
                trials.append(trial_of(record, report, Path(home)))
    others = other_bases(folder, [t.record for t in trials])
    ids = frozenset(name for names in others.values() for name in names)
    return Loaded([t for t in trials if t.trial_id not in ids], ids, note_on(others))


def load_sweep(folder: Path) -> dict[str, Any]:
    """The resolved sweep (`name`, `question`, ...) as plain data; empty where none can be read."""
    found = read_if_sound(folder / SWEEP, _Plain)
    return found.root if found else {}


class _Plain(RootModel[dict[str, Any]]):
    """Whatever version wrote it, and without loading the engine that defines it."""
