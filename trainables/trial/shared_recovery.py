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

from trainables.common.attempts import owned
from trainables.common.clock import Clock
from trainables.common.files import read_json, write_json
from trainables.common.process_group import broadcast, rank_and_world
from trainables.common.provenance import versions
from trainables.pruning.planning.planner import PrunePlan
from trainables.records import CURVES, TRAINED, RecoveryReport
from trainables.trial.inputs import Inputs
from trainables.trial.jobs import TrialJob
from trainables.trial.keys import Key, computes, reads, sees
from trainables.trial.plan import calibration_key

KIND = "recovery"
REPORT_NAME = "recovery.json"
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
        alone = rank_and_world()[1] == 1
        return (_alone if alone else _of_group)(job, inputs, plan, train)


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
    spec, recovery = inputs.spec, inputs.spec.recovery
    subset = inputs.data.subset(recovery.data_fraction, spec.seeds.data)
    return {
        **computes(inputs.dense),
        "teacher": computes(inputs.teacher) if recovery.loss.needs_teacher else None,
        "data": sees(inputs, subset),
        "skip_broken": spec.data.skip_broken,
        "plan": plan.digest,
        "recovery": [recovery.canonical(), recovery.learning_rate],  # whose default is less in few
        # The hidden term's divisors are measured on the calibration samples.
        **calibration_key(inputs),
        "training": versions("peft", "deepspeed"),
        "seeds": spec.seeds.model_dump(mode="json"),
        "workers": spec.workers,
    }


def begun_on(inputs: Inputs, plan: PrunePlan) -> Key:
    """What a recovery that was interrupted must find again to go on where it stopped.

    Newer libraries may go on with it; and for the pictures stand those of a few samples, since a
    trial should not read all of them before its first step.
    """
    spec, recovery = inputs.spec, inputs.spec.recovery
    subset = inputs.data.subset(recovery.data_fraction, spec.seeds.data)
    models = [inputs.dense, *([inputs.teacher] if recovery.loss.needs_teacher else [])]
    return {
        "models": [{**computes(m), **reads(m), "versions": None} for m in models],
        "data": [inputs.encoder.text(subset), inputs.data.picture_digest(), spec.data.max_tokens],
        "plan": plan.digest,
        "recovery": [recovery.canonical(), recovery.learning_rate],  # whose default is less in few
        "seeds": spec.seeds.model_dump(mode="json"),
    }


def _alone(job: TrialJob, inputs: Inputs, plan: PrunePlan, train: Train) -> RecoveryReport:
    key = recovery_key(inputs, plan)
    entry, built = inputs.store.get_or_create(KIND, key, lambda new: _keep(job, train(), new))
    return _report(job, entry) if built else _take(job, entry)


def _of_group(job: TrialJob, inputs: Inputs, plan: PrunePlan, train: Train) -> RecoveryReport:
    """The same in a worker group: rank 0 looks once, so that all do the same."""
    rank, _ = rank_and_world()
    key = recovery_key(inputs, plan) if rank == 0 else {}
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
    with owned(job.folder, job.attempt):
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
