"""The closing pass: report-split scores of the frontier's candidates, then their quiet latency."""

from __future__ import annotations

import uuid
from pathlib import Path

from trainables.compress import finished, score
from trainables.evaluation.catalog import check_tasks
from trainables.evaluation.harness import reasons
from trainables.evaluation.kept import forget_kept
from trainables.evaluation.latency import measure_latency
from trainables.evaluation.scoring import ScoreTable
from trainables.evaluation_stage import keep_scores
from trainables.gallery import write_gallery
from trainables.inputs import Inputs, load_inputs, load_plan
from trainables.jobs import LatencyJob, ReportJob
from trainables.provenance import collect_provenance, now
from trainables.records import (
    GALLERY,
    LOG,
    RECORD,
    REPORT,
    REPORT_SAMPLES,
    ClosingReport,
    EvaluationReport,
    Latency,
    TrialRecord,
    read_json,
    write_json,
)
from trainables.store import Store

SCORES = "report_scores.json"


def score_report_split(job: ReportJob) -> EvaluationReport:
    """Score one finished trial on the report split; kept in its folder until it is closed.

    Raises:
        ValueError: a task failed; an average over fewer tasks is not compared with others'. What
            was scored is kept for the next run.
    """
    inputs, record = _inputs(job.folder, Store(job.store))
    plan = load_plan(job.folder)
    student, log = finished(inputs, plan, job.folder), job.folder / LOG
    keep = keep_scores(inputs, plan, job.folder, "report")
    evaluation, samples = score(inputs, student, "report", log, record.origin, keep=keep)
    samples.save(job.folder / REPORT_SAMPLES)
    if evaluation.failed:
        raise ValueError(
            f"{reasons(evaluation.failed)}; the scores of the other tasks are kept, and running "
            "the sweep again asks for the missing ones alone"
        )
    forget_kept(job.folder)
    write_json(job.folder / SCORES, evaluation)
    if job.gallery:
        _keep_gallery(job, inputs, samples)
    return evaluation


def _keep_gallery(job: ReportJob, inputs: Inputs, samples: ScoreTable) -> None:
    """Write the sweep's gallery unless it is there; the scores stand whatever happens here."""
    try:
        write_gallery(
            job.folder.parents[1] / GALLERY,
            samples,
            check_tasks(inputs.spec.evaluation.tasks),
            inputs.task_folder("report", inputs.spec.evaluation.limit("report")),
            job.gallery,
            job.folder / LOG,
        )
    except Exception as error:  # pictures and task code may raise anything
        with (job.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"the gallery was not written: {type(error).__name__}: {error}\n")


def measure_quietly(job: LatencyJob) -> None:
    """Measure the latency of each trial against the dense model and write its `report.json`.

    Nothing else may run on this machine. A trial whose latency cannot be measured is closed without
    one, so that its scores still count.
    """
    for folder in job.folders:
        started = now()
        inputs, record = _inputs(folder, Store(job.store))
        report = ClosingReport(
            trial_id=record.trial_id,
            evaluation=read_json(folder / SCORES, EvaluationReport),
            # A repeat with other seeds has the size of the trial that it repeats.
            latency=None if record.origin == "confirm" else _latency(inputs, folder),
            provenance=collect_provenance(
                uuid.uuid4().hex[:8], started, inputs.dense.weights_digest, inputs.data.digest
            ),
        )
        write_json(folder / REPORT, report)


def _latency(inputs: Inputs, folder: Path) -> Latency | None:
    try:
        student, dense = finished(inputs, load_plan(folder), folder), inputs.dense
        return measure_latency(student, dense.model, dense.adapter, inputs.spec.efficiency)
    except RuntimeError as error:  # out of memory, mostly
        with (folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"latency was not measured: {error}\n")
        return None


def _inputs(folder: Path, store: Store) -> tuple[Inputs, TrialRecord]:
    record = read_json(folder / RECORD, TrialRecord)
    return load_inputs(record.spec, store), record
