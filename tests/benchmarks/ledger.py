"""CPU seconds of the commands that read a ledger, at N / 10 and at N simulated trials.

Command: `python tests/benchmarks/ledger.py [--trials 10000] [--storage FOLDER]`

The ledgers come from `prunesweep simulate search_table` with random draws, which take minutes; with
`--storage` they are kept, and found there the next time. CPU seconds (user and system) say more
than the clock on a machine that does other things too. `growth` is the time per record at N over
that at N / 10: 1 is linear, less where starting Python is a part of it, 10 quadratic. The first
`frontier` of a ledger draws its pictures, the second finds them as they should be.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

SWEEP = "search_table"
COMMANDS: dict[str, tuple[str, ...]] = {
    "status": ("status",),
    "status SWEEP": ("status", SWEEP),
    "status SWEEP --json": ("status", SWEEP, "--json"),
    "frontier SWEEP": ("frontier", SWEEP),
    "frontier SWEEP, again": ("frontier", SWEEP),
    "frontier SWEEP --json": ("frontier", SWEEP, "--json"),
    "recommend SWEEP": ("recommend", SWEEP),
    "recommend SWEEP --json": ("recommend", SWEEP, "--json"),
}


def cpu_seconds(arguments: tuple[str, ...], storage: Path) -> float:
    """User and system seconds of one command and of the processes that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "sweeps.engine.cli", *arguments, "--storage", str(storage)],
        check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ledger_of(trials: int, under: Path) -> Path:
    """A storage with a simulated sweep of so many sampled trials."""
    storage = under / str(trials)
    if not (storage / SWEEP / "done").exists():
        settings = (f"samples={trials}", "sampler=random")
        given = [word for setting in settings for word in ("--set", setting)]
        simulated = cpu_seconds(("simulate", SWEEP, "--objective", "analytic", *given), storage)
        (storage / SWEEP / "done").touch()
        print(f"{trials:,} trials simulated in {simulated:.0f} CPU seconds", flush=True)
    return storage


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--storage", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = (given.trials // 10, given.trials)
        storages = [ledger_of(size, given.storage or Path(folder)) for size in sizes]
        counts = [len(list(s.glob(f"{SWEEP}/trials/*/record.json"))) for s in storages]
        print(f"| command | s at {counts[0]:,} | s at {counts[1]:,} | growth |")
        print("| --- | ---: | ---: | ---: |")
        for name, arguments in COMMANDS.items():
            small, large = (cpu_seconds(arguments, storage) for storage in storages)
            growth = large / counts[1] / (small / counts[0])
            print(f"| {name} | {small:.2f} | {large:.2f} | {growth:.2f} |", flush=True)


if __name__ == "__main__":
    main()
