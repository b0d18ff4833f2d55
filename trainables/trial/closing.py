"""The closing pass: report-split scores of the candidates, then their quiet latency and memory."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trainables.common.files import read_json, write_json
from trainables.common.provenance import collect_provenance, now
from trainables.common.store import Store
from trainables.efficiency.latency import measure_latency
from trainables.efficiency.measure import stored_bytes
from trainables.efficiency.memory import measured_memory
from trainables.evaluation.harness import reasons
from trainables.evaluation.saved_tables import forget_kept
from trainables.records import (
    GALLERY,
    LOG,
    RECORD,
    REPORT,
    REPORT_SAMPLES,
    REPORT_SCORES,
    ClosingReport,
    EvaluationReport,
    InferenceMemory,
    Latency,
    TrialRecord,
)
from trainables.records.score_table import ScoreTable
from trainables.trial.evaluate import keep_scores, score
from trainables.trial.gallery import write_gallery
from trainables.trial.inputs import Inputs, load_inputs
from trainables.trial.jobs import LatencyJob, ReportJob
from trainables.trial.plan import load_plan
from trainables.trial.student import finished_student

T = TypeVar("T")


def score_report_split(job: ReportJob) -> EvaluationReport:
    """Score one finished trial on the report split; kept in its folder until it is closed.

    Raises:
        ValueError: a task failed; an average over fewer tasks is not compared with others'. What
            was scored is kept for the next run.
    """
    inputs, record = _inputs(job.folder, Store(job.store), job.data_folder)
    plan = load_plan(job.folder)
    student, log = finished_student(inputs, plan, job.folder), job.folder / LOG
    keep = keep_scores(inputs, plan, job.folder, "report")
    evaluation, samples = score(inputs, student, "report", log, record.origin, keep=keep)
    samples.save(job.folder / REPORT_SAMPLES)
    if evaluation.failed:
        raise ValueError(
            f"{reasons(evaluation.failed)}; the scores of the other tasks are kept, and running "
            "the sweep again asks for the missing ones alone"
        )
    write_json(job.folder / REPORT_SCORES, evaluation)
    forget_kept(job.folder)
    if job.gallery:
        _keep_gallery(job, inputs, samples)
    return evaluation


def _keep_gallery(job: ReportJob, inputs: Inputs, samples: ScoreTable) -> None:
    """Write the sweep's gallery unless it is there; the scores stand whatever happens here."""
    try:
        write_gallery(
            job.folder.parents[1] / GALLERY,
            samples,
            inputs.request("report", inputs.spec.evaluation.limit("report")).task_folder,
            job.gallery,
            job.folder / LOG,
        )
    except Exception as error:  # pictures and task code may raise anything
        with (job.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"the gallery was not written: {type(error).__name__}: {error}\n")


def measure_quietly(job: LatencyJob) -> None:
    """Measure latency and memory of each trial and write its `report.json`.

    Latency is taken against the dense model. Nothing else may run on this machine. A trial that
    the device cannot hold is closed without, so that its scores still count.

    Raises:
        ValueError: a trial's student cannot be made here; it stays open, the others are closed.
    """
    failed: ValueError | None = None
    for folder in job.folders:
        try:
            _close(folder, Store(job.store))
        except ValueError as error:
            failed = error
    if failed is not None:
        raise failed


def _close(folder: Path, store: Store) -> None:
    started = now()
    inputs, record = _inputs(folder, store)
    # A repeat with other seeds has the size of the trial that it repeats.
    quiet = Quiet() if record.origin == "confirm" else _quiet(inputs, folder)
    report = ClosingReport(
        trial_id=record.trial_id,
        evaluation=read_json(folder / REPORT_SCORES, EvaluationReport),
        latency=quiet.latency,
        batched_latency=quiet.batched,
        memory=quiet.memory,
        provenance=collect_provenance(
            uuid.uuid4().hex[:8], started, inputs.dense.weights_digest, inputs.data.digest
        ),
    )
    write_json(folder / REPORT, report)


@dataclass(frozen=True)
class Quiet:
    """What is measured when nothing else runs; None where it was not, or could not be."""

    latency: Latency | None = None
    batched: Latency | None = None
    memory: InferenceMemory | None = None


def _quiet(inputs: Inputs, folder: Path) -> Quiet:
    student = _or_none(
        "the student", folder, lambda: finished_student(inputs, load_plan(folder), folder)
    )
    if student is None:
        return Quiet()
    dense, spec = inputs.dense, inputs.spec.efficiency

    def latency(batch: int) -> Latency:
        return measure_latency(student, dense.model, dense.adapter, spec, batch)

    def memory() -> InferenceMemory:
        weights = stored_bytes(student, inputs.spec.model.dtype)
        return measured_memory(student, dense.adapter, spec, weights)

    batch = spec.latency_batch
    asked = dense.model.device.type == "cuda"  # the record holds what is computed
    return Quiet(
        latency=_or_none("latency", folder, lambda: latency(1)),
        batched=_or_none("batched latency", folder, lambda: latency(batch)) if batch else None,
        memory=_or_none("memory", folder, memory) if asked else None,
    )


def _or_none(what: str, folder: Path, measure: Callable[[], T]) -> T | None:
    """What `measure` returns; None, and a line in the trial's log, if the device cannot do it."""
    try:
        return measure()
    except RuntimeError as error:  # out of memory, mostly
        with (folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"{what} was not measured: {error}\n")
        return None


def _inputs(
    folder: Path, store: Store, data_folder: str | None = None
) -> tuple[Inputs, TrialRecord]:
    record = read_json(folder / RECORD, TrialRecord)
    return load_inputs(record.spec.with_copies_in(data_folder), store), record
