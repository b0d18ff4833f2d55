"""What an object store costs: a sweep on it against the same on a local disk, and its listing.

Command: `python tests/benchmarks/storage.py [--sweep NAME] [--repeats N] [--trials N]`

Runs the sweep in turn on a folder and on moto's S3 server on loopback, and prints the
medians of their wall-clock; then fills a bucket with the records of so many trials and prints how
long a machine that has none of them, and one that has them all, takes to know them. The server
shares the machine's processors, and is itself slow: about half a second for a page of a listing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
from helpers.object_store import BUCKET, object_store
from helpers.small_sweeps import environment
from helpers.trials import make_trial
from helpers.trials import write_sweep as write_ledger

from sweeps.engine.storage import pulled, storage_folder
from trainables.records import RECORD

MOST = 1.15  # times the local disk


def main() -> None:
    """Run both and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweep", default="quickstart", help="its name or file")
    parser.add_argument("--repeats", type=int, default=3, help="of the sweep, on each")
    parser.add_argument("--trials", type=int, default=1000, help="of the listing")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.repeats:
            _sweeps(Path(folder), given.sweep, given.repeats)
        _listing(Path(folder), given.trials)


def _sweeps(folder: Path, sweep: str, repeats: int) -> None:
    seconds: dict[str, list[float]] = {"disk": [], "object store": []}
    with object_store() as account:
        for turn in range(repeats):
            places = {"disk": str(folder / f"runs{turn}"), "object store": f"s3://{BUCKET}/{turn}"}
            for kind in reversed(seconds) if turn % 2 else seconds:  # neither is always the first
                cache = folder / f"cache{turn}" / kind
                seconds[kind].append(_run(sweep, places[kind], cache, account))
    disk, remote = (statistics.median(seconds[kind]) for kind in seconds)
    print(f"{sweep}, medians of {repeats}: {disk:.1f} s on a disk, {remote:.1f} s on an")
    print(f"object store, {remote / disk:.2f} times (at most {MOST})")


def _run(sweep: str, storage: str, cache: Path, account: dict[str, str]) -> float:
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "sweeps.engine.cli", "run", sweep, "--storage", storage],
        env=environment() | account | {"PRUNESWEEP_CACHE": str(cache)},
        check=True, capture_output=True,
    )  # fmt: skip
    return time.monotonic() - start


def _listing(folder: Path, trials: int) -> None:
    content = folder / "content"
    write_ledger(content, [make_trial(f"{i:04d}", 0.9) for i in range(trials)], "many")
    with object_store(content) as account:
        os.environ |= account | {"PRUNESWEEP_CACHE": str(folder / "listing")}
        storage = storage_folder(f"s3://{BUCKET}")
        (server,) = psutil.Process().children()
        for what in ("first", "again"):
            start, spent, served = time.monotonic(), time.process_time(), server.cpu_times()
            pulled(storage, "many", rest=False)
            seconds, cpu = time.monotonic() - start, time.process_time() - spent
            there = sum(server.cpu_times()[:2]) - sum(served[:2])
            known = len(list((storage / "many").glob(f"trials/*/{RECORD}")))
            print(f"{what}: {known} records known after {seconds:.2f} s; of a processor's time")
            print(f"{cpu:.2f} s here and {there:.2f} s in the server", flush=True)
        shutil.rmtree(storage)


if __name__ == "__main__":
    main()
