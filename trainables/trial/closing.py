"""What is asked of a trial that is over: the closing pass, and scores by hand.

The closing pass scores the candidates on the report split, then measures their quiet latency and
memory.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from transformers import PreTrainedModel

from trainables.common.attempts import claim, owned
from trainables.common.copies import put_rest
from trainables.common.files import read_json, write_json
from trainables.common.provenance import collect_provenance, now
from trainables.common.store import Store
from trainables.efficiency.latency import measure_latency
from trainables.efficiency.measure import stored_bytes
from trainables.efficiency.memory import measured_memory
from trainables.evaluation.harness import judge, reasons, score_tasks
from trainables.evaluation.saved_tables import remove_saved_tables
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
from trainables.specs import EvaluationSpec, ModelSpec, Split
from trainables.trial.evaluate import keep_scores, model_scores, score
from trainables.trial.gallery import write_gallery
from trainables.trial.inputs import Inputs, load_inputs
from trainables.trial.jobs import LatencyJob, ReportJob
from trainables.trial.plan import load_plan
from trainables.trial.student import finished_student, no_model, trained_file

T = TypeVar("T")


def score_report_split(job: ReportJob) -> EvaluationReport:
    """Score one finished trial on the report split; kept in its folder until it is closed.

    Raises:
        ValueError: a task failed; an average over fewer tasks is not compared with others'. What
            was scored is kept for the next run.
    """
    claim(job.folder, job.attempt)
    inputs, record = _inputs(job.folder, Store(job.store), job.data_folder)
    plan = load_plan(job.folder)
    trained, log = trained_file(job.folder, record), job.folder / LOG
    keep = keep_scores(inputs, plan, job.folder, "report", as_pruned=trained is None)

    def student() -> PreTrainedModel:
        return finished_student(inputs, plan, trained)

    evaluation, samples = score(inputs, student, "report", log, record.origin, keep=keep)
    with owned(job.folder, job.attempt):
        samples.save(job.folder / REPORT_SAMPLES)
    if evaluation.failed:
        raise ValueError(
            f"{reasons(evaluation.failed)}; the scores of the other tasks are kept, and running "
            "the sweep again asks for the missing ones alone"
        )
    put_rest(job.folder)
    with owned(job.folder, job.attempt):
        write_json(job.folder / REPORT_SCORES, evaluation)
        remove_saved_tables(job.folder)
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
            _close(folder, Store(job.store), job.attempt)
        except ValueError as error:
            failed = error.with_traceback(None)  # which would keep this trial's student
    if failed is not None:
        raise failed


def _close(folder: Path, store: Store, attempt: str) -> None:
    claim(folder, attempt)
    started = now()
    inputs, record = _inputs(folder, store)
    trained = trained_file(folder, record)
    report = ClosingReport(
        trial_id=record.trial_id,
        evaluation=read_json(folder / REPORT_SCORES, EvaluationReport),
        # A repeat with other seeds has the size of the trial that it repeats.
        **({} if record.origin == "confirm" else _quiet(inputs, folder, trained)),
        provenance=collect_provenance(
            attempt, started, inputs.dense.weights_digest, inputs.data.digest
        ),
    )
    put_rest(folder)
    with suppress(FileExistsError):  # closed on another machine in the meantime
        write_json(folder / REPORT, report, owned(folder, attempt))


def _quiet(inputs: Inputs, folder: Path, trained: Path | None) -> dict[str, Any]:
    """What is measured when nothing else runs, by field of `ClosingReport`; None if it fails."""
    student = _or_none(
        "the student", folder, lambda: finished_student(inputs, load_plan(folder), trained)
    )
    if student is None:
        return {}
    dense, spec = inputs.dense, inputs.spec.efficiency

    def latency(batch: int) -> Latency:
        return measure_latency(student, dense.model, dense.adapter, spec, batch)

    def memory() -> InferenceMemory:
        weights = stored_bytes(student, inputs.spec.model.dtype)
        return measured_memory(student, dense.adapter, spec, weights)

    batch = spec.latency_batch
    measured: dict[str, Any] = {"latency": _or_none("latency", folder, lambda: latency(1))}
    if batch is not None:
        measured["batched_latency"] = _or_none("batched latency", folder, lambda: latency(batch))
    if dense.model.device.type == "cuda":  # else the record holds what is computed
        measured["memory"] = _or_none("memory", folder, memory)
    return measured


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


def assess(
    target: ModelSpec | Path,
    settings: EvaluationSpec,
    split: Split,
    store: Store,
    *,
    against: ModelSpec | None = None,
    spread: bool = False,
    log: Path | None = None,
) -> EvaluationReport:
    """Scores of a model with the harness and the settings of a sweep.

    Args:
        target: a model, or the folder of a trial, whose student is built again.
        settings: tasks, data and limits.
        split: which samples.
        store: where the scores of unpruned models are kept, by weights digest and settings.
        against: the dense base that is scored with the same settings, for paired comparisons.
        spread: lay the models over all GPUs of this machine.
        log: file that lmms-eval's output is appended to.

    Raises:
        ValueError: the trial left no model, or nothing could be scored.
    """
    # One after the other: only one dense model is in memory at a time.
    if isinstance(target, Path):
        table = _trial_scores(target, settings, split, store, spread, log)
    else:
        table = model_scores(target, settings, split, store, spread=spread, log=log)
    dense = None
    if against is not None:
        dense = model_scores(against, settings, split, store, spread=spread, log=log)
    return judge(split, table, dense)[0]


def _trial_scores(
    folder: Path,
    settings: EvaluationSpec,
    split: Split,
    store: Store,
    spread: bool,
    log: Path | None,
) -> ScoreTable:
    record = read_json(folder / RECORD, TrialRecord)
    trained = trained_file(folder, record)
    if record.pruning is None or (trained is not None and not trained.exists()):
        raise no_model(folder, record)
    if spread:
        raise ValueError(
            "a trial's student is cut on one device; export the trial and evaluate the folder with "
            "--spread"
        )
    spec = record.spec.model_copy(update={"evaluation": settings})
    inputs = load_inputs(spec, store, data=False)
    request = inputs.request(split, settings.limit(split))

    def student() -> PreTrainedModel:
        return finished_student(inputs, load_plan(folder), trained)

    return score_tasks(student, inputs.dense.processor, request, log=log)
