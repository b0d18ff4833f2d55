"""One recovery for all trials that differ only in what comes after it.

Trials that are quantized in several ways, or scored on other tasks, are recovered alike. Where the
driver says that a sweep has such trials (`Caches.recovery`), what a recovery leaves is kept in the
store under everything that decides it, and the next trial that needs the same takes it from there:
the same tensors, bit for bit, as training again gives on a CPU. So is what a trial leaves that
failed after its recovery, for when it is run again. The file of the first trial and the
store's entry are one file on disk where the file system allows it.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainables.common.files import read_json, write_json
from trainables.common.process_group import broadcast, rank_and_world
from trainables.common.provenance import Clock
from trainables.pruning.planning.methods import effective_importance
from trainables.pruning.planning.planner import PrunePlan
from trainables.records import RecoveryReport
from trainables.recovery.train.checkpoint import CURVES, refuse_stale
from trainables.recovery.train.steps import TRAINED
from trainables.trial.inputs import Inputs
from trainables.trial.jobs import TrialJob

KIND = "recovery"
REPORT_NAME = "recovery.json"
Key = dict[str, Any]
Train = Callable[[], RecoveryReport]


def recover_once(
    job: TrialJob, inputs: Inputs, plan: PrunePlan, clock: Clock, train: Train
) -> RecoveryReport:
    """The recovery of the trial, trained now or by an earlier trial; its files are in the folder.

    A trial that is scored at rungs trains by itself, since the score in between is what it is for.
    With one worker, a trial that needs what another one is training right now waits for it; a
    worker group does not, because it would wait with all its devices. `clock` counts the waiting,
    besides what `train` counts itself.

    Returns:
        The report; `trained_by` names the trial that trained, unless that is this one.
    """
    if not job.caches.recovery or job.spec.rungs:
        return train()
    with clock("shared recovery"):
        key = recovery_key(inputs, plan)
        alone = rank_and_world()[1] == 1
        return (_alone if alone else _of_group)(job, inputs, key, train)


@contextmanager
def kept_if_it_fails(
    job: TrialJob, inputs: Inputs, plan: PrunePlan, report: RecoveryReport
) -> Iterator[None]:
    """Keeps the recovery if the block raises, so that running the trial again need not train."""
    try:
        yield
    except Exception:
        keep_recovery(job, inputs, plan, report)
        raise


def keep_recovery(job: TrialJob, inputs: Inputs, plan: PrunePlan, report: RecoveryReport) -> None:
    """Put a finished recovery into the store, for a trial that failed after it."""
    if report.scope == "none" or job.spec.rungs:
        return
    key = recovery_key(inputs, plan)
    with suppress(OSError):  # a full disk must not hide why the trial failed
        inputs.store.get_or_create(KIND, key, lambda new: _keep(job, report, new))


def recovery_key(inputs: Inputs, plan: PrunePlan) -> Key:
    """Everything that decides the trained tensors, as plain data."""
    spec, dense, recovery = inputs.spec, inputs.dense, inputs.spec.recovery
    importance = effective_importance(spec.pruning)
    return {
        "weights": dense.weights_digest,
        "dtype": str(dense.model.dtype),
        "device": dense.model.device.type,
        "teacher": inputs.teacher.weights_digest if recovery.loss.needs_teacher else None,
        "data": inputs.data.digest,
        "max_tokens": spec.data.max_tokens,
        "skip_broken": spec.data.skip_broken,
        "plan": plan.digest,
        "recovery": recovery.canonical(),
        # The hidden term's divisors are measured on the calibration samples.
        "calibration": [importance.samples, importance.batch_size],
        "seeds": spec.seeds.model_dump(mode="json"),
        "workers": spec.workers,
    }


def _alone(job: TrialJob, inputs: Inputs, key: Key, train: Train) -> RecoveryReport:
    entry, built = inputs.store.get_or_create(KIND, key, lambda new: _keep(job, train(), new))
    return _report(job, entry) if built else _take(job, entry)


def _of_group(job: TrialJob, inputs: Inputs, key: Key, train: Train) -> RecoveryReport:
    """The same in a worker group: rank 0 looks once, so that all do the same."""
    rank, _ = rank_and_world()
    found = broadcast(str(inputs.store.find(KIND, key) or "") if rank == 0 else "")
    if found:
        return _take(job, Path(found)) if rank == 0 else _report(job, Path(found))
    report = train()
    if rank == 0:
        inputs.store.get_or_create(KIND, key, lambda new: _keep(job, report, new))
    return report


def _keep(job: TrialJob, report: RecoveryReport, entry: Path) -> None:
    write_json(entry / REPORT_NAME, report.model_copy(update={"trained_by": _name(job)}))
    _link(job.folder / TRAINED, entry / TRAINED)
    shutil.copyfile(job.folder / CURVES, entry / CURVES)


def _take(job: TrialJob, entry: Path) -> RecoveryReport:
    refuse_stale(job.folder, job.attempt)
    _link(entry / TRAINED, job.folder / TRAINED)
    shutil.copyfile(entry / CURVES, job.folder / CURVES)
    return _report(job, entry)


def _report(job: TrialJob, entry: Path) -> RecoveryReport:
    """The kept report; a trial that was killed after its recovery finds its own."""
    report = read_json(entry / REPORT_NAME, RecoveryReport)
    own = report.trained_by == _name(job)
    return report.model_copy(update={"trained_by": None}) if own else report


def _name(job: TrialJob) -> str:
    return f"{job.sweep}/{job.trial_id}"


def _link(source: Path, target: Path) -> None:
    """One file under two names, or a copy where that cannot be; the file is only ever replaced."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
