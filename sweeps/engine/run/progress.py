"""The terminal while a sweep runs: a live table, or plain lines when it is no terminal."""

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from analysis.text_table import TextTable, say
from sweeps.engine.search.agenda import Job
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from trainables.records import TrialRecord


class View:
    """Shows trials done / running / failed, the best of each cell so far, and the time left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None
        self.begun = 0  # jobs that this run has started
        self._total = self._done_before = 0
        self._start = time.monotonic()
        self._running: dict[str, float] = {}
        self._records: dict[str, TrialRecord] = {}
        self._slots = self._closing = ""

    def begin(self, sweep: SweepSpec, total: int, ledger: Ledger) -> None:
        """Show the sweep and what the ledger holds already."""
        self._total, self._start = total, time.monotonic()
        self._records = ledger.records()
        self._done_before = len(self._records)
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

    def started(self, job_id: str, job: Job) -> None:
        """A slot has taken a job."""
        self.begun += 1
        self._running[job_id] = time.monotonic()
        if job.kind != "trial":
            self._closing = "closing pass: report split, then latency"
        self.say(f"start  {job_id}")

    def ended(self, job_id: str, job: Job, record: TrialRecord | None, error: str | None) -> None:
        """A job has ended."""
        seconds = time.monotonic() - self._running.pop(job_id, time.monotonic())
        if record is not None:
            self._records[record.trial_id] = record
        outcome = (f"failed: {error}", "red") if error else _outcome(record)
        counts = f"[{len(self._records)}/{self._total}]"
        message = Text.assemble(f"{counts}  {job_id}  ", outcome, f"  ({seconds:.0f} s)")
        if self._live is None or error:
            say(self.console, message)

    def end(self) -> None:
        """Stop the live display; the last state stays on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> RenderableType:
        done, failed = len(self._records), sum(r.status == "failed" for r in self._records.values())
        line = Text.assemble(
            (f"{done}", "bold green"),
            f" of {self._total} trials done, {len(self._running)} running, ",
            (f"{failed} failed", "red" if failed else ""),
            f"   {self._slots}   elapsed {_clock(time.monotonic() - self._start)}",
            f"   left about {self._left()}",
        )
        bar = ProgressBar(total=max(self._total, 1), completed=done, width=60)
        bar_line = Padding(bar, 0)  # a bar itself ends no line
        running = (f"{name} ({time.monotonic() - t:.0f} s)" for name, t in self._running.items())
        now = Text("   ".join(running) or self._closing or "starting Ray ...")
        closing = [Text(self._closing, style="dim")] if self._closing else []
        return Group(line, bar_line, now, *closing, self._best())

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

    def _left(self) -> str:
        done = len(self._records)
        if done == self._done_before:
            return "?"
        each = (time.monotonic() - self._start) / (done - self._done_before)
        return _clock(each * max(self._total - done, 0))


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
