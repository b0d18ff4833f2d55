"""The terminal while a sweep runs: a live table, or plain lines when it is no terminal."""

import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from analysis.text_table import TextTable, say
from sweeps.engine.run.at_work import at_work
from sweeps.engine.search.agenda import Job
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from trainables.records import TrialRecord

LOOK_SECONDS = 2.0


class View:
    """Shows trials done / running / failed, the best of each cell so far, and the time left.

    Args:
        console: the terminal, or what takes its place.
        before: called before anything is shown.
    """

    def __init__(self, console: Console, before: Callable[[], None] = lambda: None) -> None:
        self.console = console
        self._before = before
        self._live: Live | None = None
        self.begun = 0  # jobs that this run has started
        self._total = self._done_before = 0
        self._start = time.monotonic()
        self._running: dict[str, _Running] = {}
        self._records: dict[str, TrialRecord] = {}
        self._ledger: Ledger | None = None
        self._came: dict[str, bool] = {}  # by a trial's first run: whether any came to its end
        self._slots = ""
        self._closed, self._closing = 0, 0  # jobs of the closing pass: over, and of how many

    def begin(self, sweep: SweepSpec, total: int, ledger: Ledger) -> None:
        """Show the sweep and what the ledger holds already."""
        self._total, self._start = total, time.monotonic()
        self._records = ledger.records()
        self._done_before = len(self._records)
        self._ledger = ledger
        for record in self._records.values():
            self._count(record)
        self._before()
        say(self.console, Text.assemble((sweep.name, "bold"), f": {sweep.question}"))
        if self._done_before:
            self.console.print(f"{self._done_before} of {total} trials are done; going on.")
        if self.console.is_terminal:
            render = self._render
            self._live = Live(get_renderable=render, console=self.console, refresh_per_second=2)
            self._live.start()

    def say(self, *lines: str) -> None:
        """Print lines, where no live table tells the same."""
        if self._live is None:
            for line in lines:
                say(self.console, line)

    def warn(self, line: str) -> None:
        """Print a line, above the live table where there is one."""
        say(self.console, line)

    def slots(self, count: int, device: str) -> None:
        """Say how many trials run at once."""
        self._slots = f"{count} {device} slot{'s' if count > 1 else ''}"
        self.say(f"Ray is up with {self._slots}; the first trial of a slot loads the libraries.")

    def started(self, job_id: str, job: Job, closing: int) -> None:
        """A slot has taken a job; the closing pass has so many, once that is known."""
        self.begun += 1
        self._running[job_id] = _Running(job, time.monotonic())
        self._closing = closing
        self.say(f"start  {job_id}")

    def ended(self, job_id: str, job: Job, record: TrialRecord | None, error: str | None) -> None:
        """A job has ended."""
        seconds = time.monotonic() - self._running.pop(job_id).since
        if record is not None:
            self._records[record.trial_id] = record
            self._count(record)
        counts = f"[{len(self._records)}/{self._total}]"
        if job.kind != "trial":
            self._closed += 1
            counts = f"[closing {self._closed}/{self._closing}]"
        outcome = (f"failed: {error}", "red") if error else _outcome(record)
        message = Text.assemble(f"{counts}  {job_id}  ", outcome, f"  ({seconds:.0f} s)")
        if self._live is None or error:
            say(self.console, message)
        if record is not None and job.kind == "trial":
            for sign in record.signatures:
                self.warn(f"  {record.trial_id}: {sign.sentence}")

    def _count(self, record: TrialRecord) -> None:
        request = self._ledger.seen().get(record.trial_id) if self._ledger else None
        first = request.first_key if request else record.trial_id
        self._came[first] = self._came.get(first, False) or record.status != "failed"

    def end(self) -> None:
        """Stop the live display; the last state stays on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> RenderableType:
        done, failed = len(self._records), [*self._came.values()].count(False)
        line = Text.assemble(
            (f"{done}", "bold green"),
            f" of {self._total} trials done, {len(self._running)} running, ",
            (f"{failed} failed", "red" if failed else ""),
        )
        if self._closing:
            line.append(f"\nclosing pass: {self._closed} of {self._closing} jobs done")
        spent = [f"elapsed {_clock(time.monotonic() - self._start)}", *self._left()]
        bar = ProgressBar(total=max(self._total, 1), completed=done, width=60)
        best = self._best()
        parts: list[RenderableType] = [
            line,
            Padding(bar, 0),  # a bar itself ends no line
            Text("   ".join([*([self._slots] if self._slots else []), *spent]), style="dim"),
            "",
            self._now(),
        ]
        if best.rows:
            parts += ["", best]
        return Group(*parts)

    def _now(self) -> RenderableType:
        if self._running:
            rows = [(name, *job.now()) for name, job in self._running.items()]
            header = ("running", "stage", "seconds")
            return TextTable(header, rows, first=("running", "seconds", "stage"))
        if not self.begun:
            return Text("starting Ray ...")
        return Text("writing frontier, effects and MLflow ..." if self._closed else "waiting ...")

    def _best(self) -> TextTable:
        rows = []
        cells: dict[tuple[str, str], list[TrialRecord]] = {}
        for record in self._records.values():
            if record.origin not in ("reference", "confirm"):
                pruning = record.spec.pruning
                cells.setdefault((pruning.method, pruning.amount), []).append(record)
        for (method, amount), records in sorted(cells.items()):
            best = max(records, key=_retention)
            value = _retention(best)
            scored = value >= 0
            rows.append(
                (
                    method,
                    amount,
                    str(len(records)),
                    f"{100 * value:.1f} %" if scored else "-",
                    best.trial_id if scored else "",
                )
            )
        header = ("method", "ratio", "trials", "best retention", "trial")
        first = ("trial", "method", "ratio", "best retention")
        title = "best of each cell so far (search split)"
        return TextTable(header, rows, title=title, first=first, also="`prunesweep status SWEEP`")

    def _left(self) -> list[str]:
        done = len(self._records)
        if done == self._done_before or done >= self._total:
            return []
        each = (time.monotonic() - self._start) / (done - self._done_before)
        return [f"left about {_clock(each * (self._total - done))}"]


class _Running:
    """A job that runs; what it is at is looked up every other second."""

    def __init__(self, job: Job, since: float) -> None:
        self.since = since
        self._folder = job.folder if job.kind == "trial" else None
        self._stage = {"report": "report split", "latency": "latency"}.get(job.kind, "starting")
        self._looked = 0.0

    def now(self) -> tuple[str, str]:
        """Its stage, and the seconds since it was started."""
        moment = time.monotonic()
        if self._folder is not None and moment - self._looked > LOOK_SECONDS:
            self._stage, self._looked = at_work(self._folder)[0], moment
        return self._stage, f"{moment - self.since:.0f}"


def _retention(record: TrialRecord) -> float:
    """On the search split; -1 where the trial has none."""
    scores = record.evaluation if record.status == "completed" else None
    return -1.0 if scores is None or scores.retention is None else scores.retention


def _outcome(record: TrialRecord | None) -> str:
    if record is None:
        return "done"
    if record.status != "completed" or record.evaluation is None:
        return record.status
    retention = record.evaluation.retention
    if retention is None:
        return f"average {record.evaluation.average:.1f} ({record.evaluation.split} split)"
    return f"retention {100 * retention:.1f} % ({record.evaluation.split} split)"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
