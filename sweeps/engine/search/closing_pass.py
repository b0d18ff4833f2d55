"""The jobs of the closing pass: report-split scores of the candidates, then, alone, latency."""

from collections.abc import Collection, Sequence
from pathlib import Path

from sweeps.engine.spec.ledger import Ledger
from trainables.records import REPORT_SCORES
from trainables.trial.jobs import LatencyJob, ReportJob

LATENCY = "latency"


def closing_job(
    ledger: Ledger,
    candidates: Sequence[str],
    *,
    taken: Collection[str],
    gallery: int,
    data_folder: str | None,
) -> tuple[str, ReportJob | LatencyJob] | None:
    """(job id, job) of the next one; None when none is left. Latency runs beside nothing else.

    Args:
        ledger: of the sweep.
        candidates: ids of the trials to be scored, best first.
        taken: ids of jobs that run, or have failed and are not tried again.
        gallery: samples that are shown with their pictures.
        data_folder: where the benchmarks' copies lie now.
    """
    unscored, scored = _open(ledger, candidates)
    for folder in unscored:
        job_id = f"report-{folder.name}"
        if job_id not in taken:
            return job_id, ReportJob(
                trial_id=folder.name,
                folder=folder,
                store=ledger.store,
                gallery=gallery,
                data_folder=data_folder,
            )
    if not scored or LATENCY in taken:
        return None
    return LATENCY, LatencyJob(folders=tuple(scored), store=ledger.store)


def count_closing_jobs(ledger: Ledger, candidates: Sequence[str]) -> int:
    """How many jobs the candidates need: one each for the missing scores, and latency."""
    unscored, scored = _open(ledger, candidates)
    return len(unscored) + 1 if unscored or scored else 0


def _open(ledger: Ledger, candidates: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Folders of the candidates without a report: those to be scored, and those that are."""
    found: tuple[list[Path], list[Path]] = ([], [])
    for name in candidates:
        if ledger.report(name) is None:
            folder = ledger.trials / name
            found[(folder / REPORT_SCORES).exists()].append(folder)
    return found
