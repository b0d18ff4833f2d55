"""`prunesweep run` of one small sweep as a process that is started, watched and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from helpers.small_sweeps import environment, write_sweep

MARK = "PRUNESWEEP_CHAOS"  # in the environment of all that a driver starts
DESIGNED = (
    {"method": "layerwise", "ratio": 0.3, "scope": "joint", "terms": "ce+reverse_kl+l2"},
    {"method": "widthwise", "ratio": 0.3, "scope": "projector"},
    {"method": "layerwise", "ratio": 0.3, "scope": "projector"},
    {"method": "widthwise", "ratio": 0.3, "scope": "joint", "terms": "l2"},
)
MORE = "rungs=RungSpec(fractions=(0.5,)),"
SETTINGS = {"steps": 40, "every": 4, "designed": DESIGNED, "more": MORE}
CACHED = "trial.recovery.teacher.mode=cached"
LEFT_SECONDS = 60.0  # Ray's agents outlive a killed driver by up to 40 s


@dataclass(frozen=True)
class Start:
    """One start of the command."""

    process: subprocess.Popen[str]
    log: Path
    since: float  # of the clock that files are dated by

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text(encoding="utf-8")


class Driver:
    """The command that runs a sweep; whatever it starts carries a mark of its own.

    Its trials have one worker, two at a time, or two workers.
    """

    def __init__(
        self, name: str, storage: Path, folder: Path, workers: int = 1, tracking: str | None = None
    ) -> None:
        self.name, self.storage, self._place = name, storage, folder
        self.folder = storage / name
        self.trials = self.folder / "trials"
        settings = {**SETTINGS, "slots": 2 // workers, "workers": workers}
        self._file = write_sweep(folder / f"{name}.py", **settings)
        self._tracking = tracking
        self._mark = uuid.uuid4().hex
        self._starts = 0

    def start(self, *more: str) -> Start:
        """Start it, with its output in a file."""
        command = [sys.executable, "-m", "sweeps.engine.cli", "run", str(self._file), *more]
        command += ["--storage", str(self.storage), "--set", CACHED]
        if self._tracking:
            command += ["--tracking-uri", self._tracking]
        self._starts += 1
        path = self._place / f"{self.name}.{self._starts}.log"
        with path.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, text=True, start_new_session=True,
                env=environment() | {MARK: self._mark},
                # A shell's background job, which this may be part of, ignores SIGINT.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )  # fmt: skip
        return Start(process, path, path.stat().st_mtime)

    def processes(self, name: str = "") -> Iterator[psutil.Process]:
        """What the starts have left running, or those of a name."""
        for process in psutil.process_iter():
            try:
                if name and process.name() != name:
                    continue
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get(MARK) == self._mark:
                    yield process
            except (psutil.Error, OSError):
                continue

    def left(self, seconds: float = LEFT_SECONDS) -> list[str]:
        """What still runs so long after the end, in words."""
        until = time.monotonic() + seconds
        while (found := [*self.processes()]) and time.monotonic() < until:
            time.sleep(0.5)
        return [f"process {each.pid} is left: {' '.join(each.cmdline())[:80]}" for each in found]

    def end(self) -> None:
        """End whatever is left of all starts."""
        for process in self.processes():
            send(process.pid, signal.SIGKILL)


def send(pid: int, how: signal.Signals) -> bool:
    """Send a signal; False where nobody is there any more."""
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return False
    return True
