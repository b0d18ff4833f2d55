"""How a worker group hears at a rung whether it goes on.

Tune judges a trial in the trial's own process: a report returns if the trial goes on, and raises
`SystemExit` if it is stopped. The workers of a group run elsewhere and Tune could only kill them,
so the first one leaves its report in the trial's folder and waits, the trial's process passes it on
(Tune is not told by Train's callback, since nothing would come back that way) and leaves the
answer. A group that is stopped ends by itself, so that its devices are free for the next trial.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from trainables.common.attempts import belongs, owned
from trainables.common.files import read_json, write_json
from trainables.records import RECORD
from trainables.specs import Frozen
from trainables.trial.jobs import TrialJob

REPORTED, VERDICT = MESSAGES = ("rung_report.json", "rung_verdict.json")
NAP_SECONDS = 0.5
M = TypeVar("M", bound=Frozen)
Report = Callable[[dict[str, Any]], object]


class Reported(Frozen):
    """What the first worker says at a rung; `attempt` is that of its start."""

    attempt: str
    rung: int
    metrics: dict[str, Any]


class Verdict(Frozen):
    """The answer to the report of this start at this rung."""

    attempt: str
    rung: int
    goes_on: bool


def report_from_group(job: TrialJob, rung: int, metrics: dict[str, Any]) -> None:
    """Report from the first worker of a group, and wait for the answer.

    Raises:
        SystemExit: the trial is stopped. Its record, which the scheduler writes, may say so before
            the answer does.
    """
    asked = Reported(attempt=job.attempt, rung=rung, metrics=metrics)
    write_json(job.folder / REPORTED, asked, owned(job.folder, job.attempt))
    while not (job.folder / RECORD).exists():
        answer = _read(job.folder / VERDICT, Verdict)
        if answer and (answer.attempt, answer.rung) == (job.attempt, rung):
            if answer.goes_on:
                return
            break
        time.sleep(NAP_SECONDS)
    raise SystemExit(0)


@contextmanager
def judged(job: TrialJob, report: Report) -> Iterator[None]:
    """Passes on what the group reports during the block.

    Raises:
        SystemExit: at the end of the block, if the trial was stopped; or whatever else the report
            raised.
    """
    over, raised = threading.Event(), list[BaseException]()

    def pass_on() -> None:
        known: Reported | None = None
        while not over.wait(NAP_SECONDS):
            asked = _read(job.folder / REPORTED, Reported)
            if asked is None or asked == known or not belongs(asked.attempt, job.attempt):
                continue
            known = asked
            try:
                report(asked.metrics)
            except BaseException as error:  # of a thread, which nobody would see
                raised.append(error)
            answer = Verdict(attempt=asked.attempt, rung=asked.rung, goes_on=not raised)
            write_json(job.folder / VERDICT, answer)

    thread = threading.Thread(target=pass_on, name="rungs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for name in MESSAGES:
            (job.folder / name).unlink(missing_ok=True)
        if raised:  # whatever became of the group: a stopped trial must not report any more
            raise raised[0]


def _read(path: Path, model: type[M]) -> M | None:
    return read_json(path, model) if path.exists() else None
