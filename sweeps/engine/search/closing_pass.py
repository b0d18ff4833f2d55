"""The jobs of the closing pass: report-split scores of the candidates, then, alone, latency."""

from collections.abc import Collection, Sequence

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
    names = [name for name in candidates if ledger.report(name) is None]
    folders = [ledger.trials / name for name in names]
    scored = [folder for folder in folders if (folder / REPORT_SCORES).exists()]
    for folder in folders:
        job_id = f"report-{folder.name}"
        if folder not in scored and job_id not in taken:
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
    open_ = [name for name in candidates if ledger.report(name) is None]
    scored = sum((ledger.trials / name / REPORT_SCORES).exists() for name in open_)
    return len(open_) - scored + 1 if open_ else 0
