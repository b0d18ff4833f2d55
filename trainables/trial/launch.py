"""Runs a job under Ray: every trial goes through Ray Train's `TorchTrainer`.

With one worker this is Train's local mode: the loop runs in the Tune trial process, which serves
one trial after another. With more it is a Train worker group (see `group`), which serves one trial
after another as well, and the trial process only drives it.
"""

import functools
import gc
import shutil
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainables.common.attempts import claim, claim_within, owned
from trainables.common.copies import pull, put_files, put_rest, remove
from trainables.common.files import read_json, write_json
from trainables.common.output import output_to
from trainables.common.provenance import collect_provenance, now
from trainables.records import ASKED, CHECKPOINT, LOG, RECORD, RUNG, STAGE, TrialRecord
from trainables.trial.desk import Failure
from trainables.trial.errors import GroupError, failure_of
from trainables.trial.jobs import Job, ReportJob, TrialJob, begin_job, folders_of, parse_job

TRAIN = "train"


def run_job(
    plain: dict[str, Any], report: Any = None, each: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Do a job in this process; failures become a failed record, never an exception.

    A trial that raised would lose its warm slot, so everything but the end of the process is
    caught, written down, and handed back. A storage that fails is no failure of the trial's, which
    stays to be done.

    Args:
        plain: a job as plain data.
        report: called with the metrics of each rung; it may raise `SystemExit` to stop the trial.
        each: what a worker of a group is given, by Ray's resource; None is one CPU.

    Returns:
        Metrics for Tune: `trial_id`, `status`, `error`, and whether the `storage` failed.
    """
    from trainables.common.device import hold_part, release_memory

    each = each or {"CPU": 1}
    job = begin_job(plain)
    elsewhere = isinstance(job, TrialJob) and job.spec.grouped
    try:
        for folder in folders_of(job):
            pull(folder, checkpoint=True)
            folder.mkdir(parents=True, exist_ok=True)
        if not elsewhere:
            hold_part(each.get("GPU", 1.0))
        found = _done(job, report, each)
        put_files(*(folder / LOG for folder in folders_of(job)))  # what was said after the record
        return found
    except OSError as error:  # a log or a record on a full disk, which the driver sees to
        return _storage_failed(job, failure_of(error))
    finally:
        if not elsewhere:  # its student lies in cycles, and Python would look for them much later
            release_memory()


def _storage_failed(job: Job, failure: Failure) -> dict[str, Any]:
    return {"kind": job.kind, "status": "failed", "error": failure.message, "storage": True}


def _done(job: Job, report: Any, each: Mapping[str, float]) -> dict[str, Any]:
    started = now()
    with output_to(folders_of(job)[0] / LOG):
        try:
            if isinstance(job, TrialJob):
                claim(job.folder, job.attempt)  # first, or a failure could not be written down
                if not (job.folder / RECORD).exists():  # else killed once its record was written
                    if job.spec.grouped:
                        return {"kind": job.kind, **_run_in_group(job, report, each)}
                    _run_here(job, report)
                record = read_json(job.folder / RECORD, TrialRecord)
                return {"kind": job.kind, **summary(record)}
            from trainables.trial.closing import measure_quietly, score_report_split

            if isinstance(job, ReportJob):
                score_report_split(job)
            else:
                measure_quietly(job)
            return {"kind": job.kind, "status": "completed", "error": None}
        except Exception as error:
            if not isinstance(error, GroupError):  # whose workers have
                traceback.print_exc()
            failure = failure_of(error)
            if failure.storage:
                return _storage_failed(job, failure)
            return _failed(job, failure, started)


def _run_here(job: TrialJob, report: Any) -> None:
    """Do a trial in this process, by Train's local mode."""
    import torch
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        _local_loop,
        train_loop_config={"job": job.model_dump(mode="json"), "report": report},
        scaling_config=ScalingConfig(num_workers=0, use_gpu=torch.cuda.is_available()),
        run_config=RunConfig(
            name=f"{job.trial_id}-{job.attempt}", storage_path=str(job.folder / TRAIN)
        ),
    )
    try:
        trainer.fit()
    except SystemExit:  # stopped at a rung
        clear_up(job.folder)
        put_rest(job.folder)
        raise
    clear_up(job.folder)


def clear_up(folder: Path) -> None:
    """Remove Train's own state; what counts is the record."""
    shutil.rmtree(folder / TRAIN, ignore_errors=True)


def _local_loop(config: dict[str, Any]) -> None:
    from trainables.common.process_group import fresh_single_process_group
    from trainables.trial.compress import compress

    job = parse_job(config["job"])
    assert isinstance(job, TrialJob)
    fresh_single_process_group()
    record = compress(job, _rung_of(job, config["report"]))
    assert record is not None
    publish(job, record)


def _run_in_group(job: TrialJob, report: Any, each: Mapping[str, float]) -> dict[str, Any]:
    """Have the workers of this process's group do a trial."""
    from trainables.trial.group import Needs, do_in_group, end_group

    needs, plain = Needs.of(job.spec.workers, each), job.model_dump(mode="json")
    try:
        return do_in_group(needs, _work, plain, report if job.spec.rungs else None)
    finally:
        if job.spec.isolate:
            end_group()


def _work(plain: dict[str, Any], report: Any) -> dict[str, Any] | None:
    """Do a trial in a worker of a group, together with the others."""
    from trainables.common.process_group import broadcast, rank_and_world
    from trainables.trial.compress import compress

    job = parse_job(plain)
    assert isinstance(job, TrialJob)
    with output_to(job.folder / LOG):
        try:
            _keep_imports()
            rank, _ = rank_and_world()
            path = job.folder / RECORD
            done = rank == 0 and path.exists()  # a worker was killed after the first one was done
            if broadcast("done" if done else ""):
                return summary(read_json(path, TrialRecord)) if rank == 0 else None
            if rank == 0:  # another group may have begun it
                start = claim_within(job.folder, job.attempt)
                job = job.model_copy(update={"attempt": start})
            record = compress(job, _rung_of(job, report))
            if record is None:
                return None
            publish(job, record)
            return summary(record)
        except Exception:
            traceback.print_exc()
            raise


@functools.cache
def _keep_imports() -> None:
    """Import what trials need, and leave it out of what is searched for garbage from now on.

    Nearly all objects that a search would go through are those of libraries. Nothing else is there
    yet: what is frozen is never given back.
    """
    from trainables.common.process_group import import_deepspeed
    from trainables.evaluation.isolation import isolated

    import_deepspeed()
    with isolated():  # imports lmms-eval
        pass
    gc.collect()
    gc.freeze()


def _rung_of(job: TrialJob, report: Any) -> Callable[[int, TrialRecord], None]:
    def on_rung(index: int, so_far: TrialRecord) -> None:
        write_json(job.folder / RUNG, so_far, owned(job.folder, job.attempt))
        if report is not None:
            report({"kind": "rung", "rung": index, **summary(so_far)})

    return on_rung


def publish(job: TrialJob, record: TrialRecord) -> None:
    """Write the record, unless a newer attempt owns the trial or one is already there."""
    with owned(job.folder, job.attempt):
        path = job.folder / RECORD
        if path.exists():
            raise RuntimeError(f"{path} exists; a record is never rewritten")
        put_rest(job.folder)
        put_record(job.folder, record)


def put_record(folder: Path, record: TrialRecord) -> None:
    """Write a trial's record, and remove what is gone once there is one."""
    write_json(folder / RECORD, record)
    remove(folder / CHECKPOINT, folder / ASKED, folder / STAGE)


def summary(record: TrialRecord) -> dict[str, Any]:
    """The few figures that the scheduler and the progress display read."""
    evaluation, efficiency = record.evaluation, record.efficiency
    return {
        "trial_id": record.trial_id,
        "status": record.status,
        "error": record.error,
        "retention": evaluation.retention if evaluation else None,
        "recovery_tflops": record.recovery.tflops if record.recovery else 0.0,
        "weights_mib": efficiency.weights_mib if efficiency else None,
    }


def _failed(job: Job, failure: Failure, started: str) -> dict[str, Any]:
    from trainables.trial.diagnose import diverged

    if isinstance(job, TrialJob) and not (job.folder / RECORD).exists():
        record = job.record(failure.message, collect_provenance(job.attempt, started))
        if failure.diverged:
            signs = diverged(job.spec.recovery.loss)
            record = record.model_copy(update={"signatures": signs})
        publish(job, record)
    return {"kind": job.kind, "status": "failed", "error": failure.message}
