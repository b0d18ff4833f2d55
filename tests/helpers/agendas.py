"""Agendas over ledgers of their own, and an analytic objective that answers their jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from sweeps.engine.search.agenda import Agenda
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from trainables.common.files import write_json
from trainables.models.families.registry import language_shape
from trainables.records import (
    EvaluationReport,
    Provenance,
    RecoveryReport,
    Status,
    TaskScore,
    TrialRecord,
)
from trainables.specs import TrialSpec
from trainables.trial.jobs import TrialJob


def open_agenda(
    sweep: SweepSpec, storage: Path, candidates: Callable[[], list[str]] = list
) -> tuple[Agenda, Ledger]:
    """An agenda over the sweep's ledger in `storage`, which is opened, and the ledger."""
    ledger = Ledger(storage, sweep.name)
    ledger.open(sweep)
    return Agenda(sweep, language_shape(sweep.trial.model), ledger, candidates), ledger


def quality(spec: TrialSpec) -> float:
    """The analytic objective: recovery helps, a large ratio hurts, the default rate is best."""
    recovered = {"none": 0.0, "projector": 0.1, "joint": 0.25}[spec.recovery.scope]
    return 0.9 - 0.8 * spec.pruning.ratio + recovered


def finish(
    job: TrialJob, status: Status = "completed", retention: float | None = None
) -> TrialRecord:
    """Write the record that a trial would have written."""
    value = quality(job.spec) if retention is None else retention
    dense = job.origin == "reference"
    scored = status == "completed"
    record = TrialRecord(
        trial_id=job.trial_id,
        sweep=job.sweep,
        status=status,
        origin=job.origin,
        spec=job.spec,
        factors=job.factors,
        seeds=job.spec.seeds,
        recovery=RecoveryReport(scope=job.spec.recovery.scope, tflops=job.spec.pruning.ratio),
        evaluation=EvaluationReport(
            split="search",
            tasks={"tiny_counting": TaskScore(score=50, stderr=1, samples=10)},
            average=50.0,
            average_se=1.0,
            retention=None if dense else value,
            retention_se=None if dense else 0.01,
        )
        if scored
        else None,
        error=None if status != "failed" else "it broke",
        provenance=Provenance(prunesweep="test"),
    )
    write_json(job.folder / "record.json", record)
    return record


def finish_by_mixture(job: TrialJob) -> None:
    """`finish`, where besides `quality` the weight of the logits counts: 0.3 is best."""
    finish(job, retention=quality(job.spec) - 0.05 * abs(job.spec.recovery.loss.beta - 0.3))


def asked(ledger: Ledger) -> list[tuple[str, str, str | None]]:
    """(trial, key, how it was drawn) of all requests: what does not differ between two runs."""
    return [(r.trial_id, r.key, r.drawn) for r in ledger.requests().values()]


def drain(agenda: Agenda, answer: Callable[[TrialJob], object] = finish) -> list[TrialJob]:
    """Do every job at once, one after another; returns the trials in their order."""
    done: list[TrialJob] = []
    while (item := agenda.next()) is not None:
        assert item != "wait"
        job_id, job = item
        if isinstance(job, TrialJob):
            answer(job)
            done.append(job)
        agenda.ended(job_id)
    return done


def by_cell(jobs: list[TrialJob], origin: str) -> Mapping[tuple[str, float], int]:
    """Number of trials of that origin per method and ratio."""
    counts: dict[tuple[str, float], int] = {}
    for job in jobs:
        if job.origin == origin:
            cell = (job.spec.pruning.method, job.spec.pruning.ratio)
            counts[cell] = counts.get(cell, 0) + 1
    return counts
