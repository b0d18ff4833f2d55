"""Many tiny trials, and several sweeps at once: what driver and slots hold, and how fast it goes.

Command: `python tests/benchmarks/load.py [--sweeps 3] [--trials 2000]`

Starts so many sweeps of so many trials at once, in one new storage folder, through the command
line. A trial trains the projector for one step and answers twenty questions, so that what is
measured is not the trial. Ten times on the way, the table says for each sweep how many trials have
a record, seconds per trial since the last row, and resident MiB and open files of its driver and,
at most, of its slots; a slot's are those of Ray's processes that run trials. At the end every
sweep must have all its trials, and whatever they share must have been computed once: the exit code
is 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.small_sweeps import environment, write_sweep

MIB = 2**20
ROWS = 10
SLOT = "ray::ImplicitFunc"


class Seen(NamedTuple):
    """Resident MiB and open files of a process, or the most of several."""

    mib: float = 0.0
    files: int = 0


class Running(NamedTuple):
    """A sweep, its driver, and where its records come to lie."""

    name: str
    driver: psutil.Popen
    trials: Path

    @property
    def records(self) -> int:
        """How many of its trials have one."""
        return sum(1 for _ in self.trials.glob("*/record.json"))

    def seen(self) -> tuple[Seen, Seen]:
        """What its driver holds, and its largest slot."""
        slots = [_seen(p) for p in self.driver.children(recursive=True) if _is_slot(p)]
        most = Seen(*(max(values, default=0) for values in zip(*slots, strict=True)))
        return _seen(self.driver), most


def main() -> None:
    """Run the sweeps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=3)
    parser.add_argument("--trials", type=int, default=2000, help="of each sweep")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder) / "runs"
        running = [_start(storage, f"load{i + 1}", given.trials) for i in range(given.sweeps)]
        print("| sweep | trials | s/trial | driver MiB | files | slot MiB | files |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        begun = time.monotonic()
        done = dict.fromkeys(running, 0)
        last = dict.fromkeys(running, begun)
        while alive := [one for one in running if one.driver.poll() is None]:
            for one in alive:
                records = one.records
                if records - done[one] >= given.trials / ROWS:
                    now = time.monotonic()
                    driver, slot = one.seen()
                    speed = (now - last[one]) / (records - done[one])
                    print(
                        f"| {one.name} | {records} | {speed:.2f} | {driver.mib:,.0f} | "
                        f"{driver.files} | {slot.mib:,.0f} | {slot.files} |",
                        flush=True,
                    )
                    done[one], last[one] = records, now
            time.sleep(2.0)
        hours = (time.monotonic() - begun) / 3600
        ended = sum(one.records for one in running)
        print(f"{ended:,} trials in {60 * hours:.0f} min: {ended / hours:,.0f} an hour")
        _check(storage, running, given.trials + 1)


def _start(storage: Path, name: str, trials: int) -> Running:
    storage.mkdir(exist_ok=True)
    designed = [
        {"method": method, "ratio": 0.3, "scope": "projector", "lr_scale": 0.25 + i / trials}
        for i in range(trials // 2)
        for method in ("layerwise", "widthwise")
    ]
    path = storage.parent / f"{name}.py"
    write_sweep(path, steps=1, designed=designed, slots=None, more="gallery=0,")
    command = [sys.executable, "-m", "sweeps.engine.cli", "run", str(path)]
    command += ["--set", "trial.evaluation.tasks=[tiny_counting]"]
    log = (storage.parent / f"{name}.log").open("w", encoding="utf-8")
    command += ["--storage", str(storage)]
    driver = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment())
    return Running(name, driver, storage / name / "trials")


def _is_slot(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return SLOT in " ".join(process.cmdline())
    return False


def _seen(process: psutil.Process) -> Seen:
    with suppress(psutil.Error):
        return Seen(process.memory_info().rss / MIB, process.num_fds())
    return Seen()


def _check(storage: Path, running: list[Running], trials: int) -> None:
    """Exit with 1 unless every trial is there and nothing was built twice."""
    ill = []
    for one in running:
        if one.driver.returncode or one.records != trials:
            log = storage.parent / f"{one.name}.log"
            last = log.read_text(encoding="utf-8").strip().splitlines()[-5:]
            ill.append(f"{one.name}: rc {one.driver.returncode}, {one.records} records; {last}")
    if ill:
        sys.exit("\n".join(ill))
    rows = (storage / "store" / "built.jsonl").read_text(encoding="utf-8").splitlines()
    built = Counter((row["kind"], row["digest"]) for row in map(json.loads, rows))
    if twice := [key for key, count in built.items() if count > 1]:
        sys.exit(f"built more than once: {twice}")


if __name__ == "__main__":
    main()
