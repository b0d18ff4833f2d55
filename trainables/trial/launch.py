"""Runs a job under Ray: every trial goes through Ray Train's `TorchTrainer`.

With one worker this is Train's local mode: the loop runs in the Tune trial process, which serves
one trial after another. With more it is a Train worker group, and the trial process only drives it.
"""

import contextlib
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainables.common.attempts import claim, claim_within, owned
from trainables.common.files import read_json, write_json
from trainables.common.provenance import collect_provenance, now
from trainables.common.storage_errors import is_of_storage
from trainables.records import ASKED, CHECKPOINT, LOG, RECORD, RUNG, STAGE, TrialRecord
from trainables.trial.jobs import Job, LatencyJob, ReportJob, TrialJob, begin_job, parse_job
from trainables.trial.judging import MESSAGES, judged, report_from_group

TRAIN = "train"


def run_job(plain: dict[str, Any], report: Any = None) -> dict[str, Any]:
    """Do a job in this process; failures become a failed record, never an exception.

    A trial that raised would lose its warm slot, so everything but the end of the process is
    caught, written down, and handed back. A storage that fails is no failure of the trial's, which
    stays to be done.

    Args:
        plain: a job as plain data.
        report: called with the metrics of each rung; it may raise `SystemExit` to stop the trial.

    Returns:
        Metrics for Tune: `trial_id`, `status`, `error`, and whether the `storage` failed.
    """
    from trainables.common.device import release_memory

    job = begin_job(plain)
    try:
        return _done(job, report)
    except OSError as error:  # a log or a record on a full disk, which the driver sees to
        return _storage_failed(job, error)
    finally:
        release_memory()  # its student lies in cycles, and Python would look for them much later


def _storage_failed(job: Job, error: Exception) -> dict[str, Any]:
    return {"kind": job.kind, "status": "failed", "error": explain(error), "storage": True}


def _done(job: Job, report: Any) -> dict[str, Any]:
    folder = job.folders[0] if isinstance(job, LatencyJob) else job.folder
    started = now()
    with _output_to(folder / LOG):
        try:
            if isinstance(job, TrialJob):
                claim(job.folder, job.attempt)  # first, or a failure could not be written down
                if not (job.folder / RECORD).exists():  # else killed once its record was written
                    _run_trial(job, report)
                record = read_json(job.folder / RECORD, TrialRecord)
                return {"kind": job.kind, **summary(record)}
            from trainables.trial.closing import measure_quietly, score_report_split

            if isinstance(job, ReportJob):
                score_report_split(job)
            else:
                measure_quietly(job)
            return {"kind": job.kind, "status": "completed", "error": None}
        except Exception as error:
            traceback.print_exc()
            if is_of_storage(error):
                return _storage_failed(job, error)
            return _failed(job, error, started)


def _run_trial(job: TrialJob, report: Any) -> None:
    import torch
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    workers = job.spec.workers if job.spec.grouped else 0  # 0 is Train's local mode
    use_gpu = torch.cuda.is_available()
    config = {"job": job.model_dump(mode="json"), "judged": report is not None}
    if not workers:
        config["report"] = report  # the loop runs here, so a function may be passed
    trainer = TorchTrainer(
        _worker_loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
        run_config=RunConfig(
            name=f"{job.trial_id}-{job.attempt}",
            storage_path=str(job.folder / TRAIN),
            failure_config=FailureConfig(max_failures=1 if workers else 0),
        ),
        torch_config=TorchConfig(timeout_s=6 * 3600),  # rank 0 may score while the others wait
    )
    reports = bool(workers and report and job.spec.rungs)
    try:
        with judged(job, report) if reports else contextlib.nullcontext():
            trainer.fit()
    except SystemExit:  # stopped at a rung
        clear_up(job.folder)
        raise
    clear_up(job.folder)


def clear_up(folder: Path) -> None:
    """Remove Train's own state and a group's messages; what counts is the record."""
    shutil.rmtree(folder / TRAIN, ignore_errors=True)
    for name in MESSAGES:
        with contextlib.suppress(OSError):  # a storage that fails is told of elsewhere
            (folder / name).unlink()


def _worker_loop(config: dict[str, Any]) -> None:
    from trainables.common.process_group import fresh_single_process_group, rank_and_world
    from trainables.trial.compress import compress

    job = parse_job(config["job"])
    assert isinstance(job, TrialJob)
    if not job.spec.grouped:
        fresh_single_process_group()
    elif rank_and_world()[0] == 0:  # Train starts a group again under the same config
        start = claim_within(job.folder, job.attempt)
        job = job.model_copy(update={"attempt": start})
    report = config.get("report")

    def on_rung(index: int, so_far: TrialRecord) -> None:
        write_json(job.folder / RUNG, so_far, owned(job.folder, job.attempt))
        metrics = {"kind": "rung", "rung": index, **summary(so_far)}
        if report is not None:
            report(metrics)
        elif config["judged"]:
            report_from_group(job, index, metrics)

    record = None
    if not job.spec.grouped:
        record = compress(job, on_rung)
    else:  # a worker that raised would be started again
        with _output_to(job.folder / LOG), contextlib.suppress(SystemExit):
            record = compress(job, on_rung)
    if record is not None:
        publish(job, record)


def publish(job: TrialJob, record: TrialRecord) -> None:
    """Write the record, unless a newer attempt owns the trial or one is already there."""
    with owned(job.folder, job.attempt):
        path = job.folder / RECORD
        if path.exists():
            raise RuntimeError(f"{path} exists; a record is never rewritten")
        put_record(job.folder, record)


def put_record(folder: Path, record: TrialRecord) -> None:
    """Write a trial's record, and remove what is gone once there is one."""
    write_json(folder / RECORD, record)
    for left in (CHECKPOINT, ASKED, STAGE):
        (folder / left).unlink(missing_ok=True)


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


def _failed(job: Job, error: Exception, started: str) -> dict[str, Any]:
    from trainables.trial.diagnose import diverged

    message = explain(error)
    if isinstance(job, TrialJob) and not (job.folder / RECORD).exists():
        record = job.record(message, collect_provenance(job.attempt, started))
        if isinstance(innermost(error), FloatingPointError):
            signs = diverged(job.spec.recovery.loss)
            record = record.model_copy(update={"signatures": signs})
        publish(job, record)
    return {"kind": job.kind, "status": "failed", "error": message}


def innermost(error: BaseException) -> BaseException:
    """The cause of an error, without Ray's wrapping."""
    while error.__cause__ is not None and type(error).__module__.startswith("ray."):
        error = error.__cause__
    causes = getattr(error, "worker_failures", None)
    return innermost(next(iter(causes.values()))) if causes else error


def explain(error: BaseException) -> str:
    """One line: the innermost cause's type and message."""
    error = innermost(error)
    text = " ".join(str(error).split())
    name = type(error).__name__
    return text if isinstance(error, ValueError) and text else f"{name}: {text}"[:2000]


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Append everything that this process prints, C code included, to a log file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    saved = [os.dup(1), os.dup(2)]
    with path.open("a", buffering=1, encoding="utf-8") as log, warnings.catch_warnings():
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                yield
        finally:
            _flush()
            log.flush()
            for descriptor, target in zip(saved, (1, 2), strict=True):
                os.dup2(descriptor, target)
                os.close(descriptor)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
