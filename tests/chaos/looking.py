"""Which process is at which stage of which trial, as the trials' folders say."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from helpers.jobs import owner_of

from sweeps.engine.run.at_work import at_work
from trainables.common.attempts import ATTEMPT
from trainables.records import RECORD, REPORT, REPORT_SCORES

STAGES = (
    "starting", "load", "score", "prune", "compare", "teacher cache", "recover", "checkpoint",
    "evaluate", "untrained", "report", "latency",
)  # fmt: skip


class Visit(NamedTuple):
    """A process at a stage of a trial; `token` is that of its start."""

    trial: str
    stage: str
    pid: int
    token: str

    @property
    def job(self) -> str:
        """What Tune repeats once: the trial, or a job of the closing pass."""
        return f"{self.stage}-{self.trial}" if self.stage in STAGES[-2:] else self.trial


def dates(trials: Path) -> dict[str, int]:
    """When what is never rewritten was written: records, and reports of the closing pass."""
    found = (path for name in (RECORD, REPORT) for path in trials.glob(f"*/{name}"))
    return {str(path): path.stat().st_mtime_ns for path in found}


def visits(trials: Path, since: float) -> list[Visit]:
    """What was claimed after `since` (of the clock that files are dated by) and is not over."""
    found = []
    for folder in sorted(trials.glob("*")):
        try:
            claimed = (folder / ATTEMPT).stat().st_mtime
            stage = _stage(folder, claimed) if claimed > since else None
            owner = owner_of(folder)
        except (OSError, ValueError):
            continue  # it is just being replaced
        if stage is not None and "pid" in owner:
            found.append(Visit(folder.name, stage, int(owner["pid"]), str(owner["attempt"])))
    return found


def _stage(folder: Path, claimed: float) -> str | None:
    if not (folder / RECORD).exists():
        stage, _ = at_work(folder)
        written = any(folder.glob(".checkpoint.safetensors.*.part"))
        return "checkpoint" if stage == "recover" and written else stage
    if claimed < (folder / RECORD).stat().st_mtime or (folder / REPORT).exists():
        return None
    scores = folder / REPORT_SCORES
    if not scores.exists():
        return "report"
    return "latency" if claimed > scores.stat().st_mtime else None
