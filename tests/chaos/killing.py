"""A round: one sweep, run until it is done, while faults are put upon it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import Counter
from collections.abc import Callable

from helpers.mlflow_servers import MlflowServer

from chaos.driver import Driver, Start, send
from chaos.faults import ANY, KINDS, SOON, STOPPED, Ending, Fault
from chaos.looking import Visit, dates, visits

LOOK_SECONDS = 0.02
HANG_SECONDS = 300.0  # nothing new for so long, on a machine that others use too
BUSY = "Ray did not start on this machine"
TAKEN_OVER = Ending(1, "was taken over by")


class Round:
    """Runs a sweep to its end, and does what of `faults` comes about meanwhile.

    Attributes:
        done: how many faults of each kind came about.
        wrong: what must not be, in words.
    """

    def __init__(self, driver: Driver, faults: list[Fault], server: MlflowServer | None) -> None:
        self.driver, self.server = driver, server
        self.faults = faults
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._due: list[tuple[float, Callable[[], object]]] = []
        self._restore: list[Callable[[], object]] = []
        self._old: list[tuple[Start, float]] = []
        self._written: dict[str, int] = {}
        self._begin()

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something in so many seconds, or when the round is over."""
        self._due.append((time.monotonic() + seconds, do))

    def at_end(self, do: Callable[[], object]) -> None:
        """Do something once this start of the command is over."""
        self._restore.append(do)

    def taken_over(self, *more: str) -> None:
        """Start the command beside the start that is, which must end by itself."""
        self._old.append((self.start, time.monotonic()))
        self._begin(*more)

    def run(self) -> None:
        """Run the sweep to its end, or to a start that did not end as it must."""
        try:
            while not self.wrong:
                if not self.start.running:
                    if self._ended():
                        return
                    continue
                self._tend()
                if self._ending is None:
                    self._look()
                elif time.monotonic() > self._since + self._ending.seconds:
                    self.wrong.append(
                        f"it runs still {self._ending.seconds:g} s after {self._last!r}"
                    )
                time.sleep(LOOK_SECONDS)
        finally:
            for _, do in self._due:
                do()
            for do in self._restore:
                do()

    def _begin(self, *more: str) -> None:
        self.start = self.driver.start(*more)
        self._ending: Ending | None = None
        self._last, self._since = "", time.monotonic()
        self._killed: set[str] = set()
        self._seen: set[Visit] = set()
        self._state: object = None
        self._moved = time.monotonic()

    def _tend(self) -> None:
        """What is due, runs that were taken over, and a run that stands still."""
        now = time.monotonic()
        for item in [each for each in self._due if each[0] <= now]:
            self._due.remove(item)
            item[1]()
        for item in list(self._old):
            old, since = item
            if not old.running:
                self._old.remove(item)
                self._judge(old, TAKEN_OVER)
            elif now > since + SOON + 30.0:  # asleep for up to 30 s of it
                self.wrong.append("a run that was taken over goes on")
        state = self._files()
        if state != self._state:
            self._state, self._moved = state, now
        elif now > self._moved + HANG_SECONDS:
            self.wrong.append(f"nothing new for {HANG_SECONDS:g} s after {self._last!r}")

    def _files(self) -> list[tuple[str, float]]:
        """The files of all trials and when they changed, but for those that go meanwhile."""
        found = []
        with contextlib.suppress(OSError):
            for path in self.driver.trials.glob("*/*.json*"):
                with contextlib.suppress(OSError):
                    found.append((str(path), path.stat().st_mtime))
        return sorted(found)

    def _look(self) -> None:
        """Do the first fault that waits for one of the stages that are visited."""
        try:
            found = visits(self.driver.trials, self.start.since)
        except OSError:
            return
        for visit in found:
            if visit in self._seen or visit.pid == self.start.process.pid:
                continue
            for fault in self.faults:
                due = fault.stage in (visit.stage, ANY)
                if due and not (KINDS[fault.kind].once and visit.job in self._killed):
                    self.faults.remove(fault)
                    self._do(fault, visit)
                    return

    def _do(self, fault: Fault, visit: Visit) -> None:
        kind = KINDS[fault.kind]
        self._seen.add(visit)
        if kind.once:
            self._killed.add(visit.job)
        self._last = f"{fault.kind} ({visit.stage}, {visit.trial})"
        print(f"{time.strftime('%H:%M:%S')} {self.driver.name}: {self._last}", flush=True)
        self.done[fault.kind] += 1
        self._ending, self._since = kind.do(self, fault, visit), time.monotonic()

    def _ended(self) -> bool:
        """What is to be said of the start that is over; whether the sweep is."""
        for do in self._restore:
            do()
        self._restore.clear()
        ending, code = self._ending, self.start.process.returncode
        if code == 2 and BUSY in self.start.output:  # Ray's patience is 30 s, and is told
            self._begin()
            return False
        if code == 0 and not self._old:  # what would end it came too late
            return True
        if code == 0:
            self._tend()
            return False
        self._judge(self.start, ending or Ending(0))
        written = dates(self.driver.trials)
        if not self._written.items() <= written.items():
            self.wrong.append(f"what was finished earlier has changed after {self._last!r}")
        self._written = written
        if not self.wrong:
            self._begin()
        return False

    def _judge(self, start: Start, ending: Ending) -> None:
        output, code = start.output, start.process.returncode
        told = [line for line in output.splitlines() if ending.said and ending.said in line]
        if code != ending.code:
            self.wrong.append(f"exit code {code} in place of {ending.code} after {self._last!r}")
        if ending.said and len(told) != 1:
            self.wrong.append(f"{ending.said!r} is told {len(told)} times after {self._last!r}")
        if told and ending is not TAKEN_OVER and STOPPED not in told[0]:
            self.wrong.append(f"how to go on is not told after {self._last!r}")
        if "Traceback" in output:
            self.wrong.append(f"a traceback after {self._last!r}")
        if self.wrong:
            self.wrong.append(f"see {start.log}: ...{output[-1500:]}")


def wake(driver: Driver) -> None:
    """Let go on whatever was stopped."""
    for process in driver.processes():
        send(process.pid, signal.SIGCONT)
