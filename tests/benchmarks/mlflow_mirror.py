"""Seconds that MLflow's copy of a sweep takes: all of it from scratch, and one more trial.

Command: `python tests/benchmarks/mlflow_mirror.py [--trials 1000] [--uri URI]`

The trials are those of the ledger in `tests/data`, each several times under another id, with their
curves and plans; the copies count as the sampler's. The store is SQLite in a temporary folder,
unless `--uri` names a server or a database. "Again" is what the end of a run or a second command
takes, which looks up every run; "one more" is what each trial takes while a sweep runs. Beside the
clock stand the CPU seconds of this process, which say more on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from analysis.load import Trial, load_trials
from sweeps.engine.track.tracking import Mirror

LEDGER = Path(__file__).parents[1] / "data" / "ledger_v1"
LAST = 10


def copied(storage: Path, name: str, trials: int) -> Path:
    """A sweep of so many trials: the dense base, and the others in turn."""
    folder = storage / name
    (folder / "trials").mkdir(parents=True)
    sweep = json.loads((LEDGER / "sweep.json").read_text(encoding="utf-8"))
    (folder / "sweep.json").write_text(json.dumps(sweep | {"name": name}), encoding="utf-8")
    homes = sorted((LEDGER / "trials").iterdir())
    dense = next(home for home in homes if home.name == "dense")
    homes.remove(dense)
    for place, home in enumerate([dense, *itertools.islice(itertools.cycle(homes), trials - 1)]):
        own = home.name if home == dense else f"{place:04d}{home.name[3:]}"
        to = folder / "trials" / own
        shutil.copytree(home, to)
        for file in to.glob("*.json"):
            text = file.read_text(encoding="utf-8").replace(f'"{home.name}"', f'"{own}"')
            if place > len(homes):  # most trials of a large sweep are the sampler's
                text = text.replace('"origin": "designed"', '"origin": "sampler"')
            file.write_text(text.replace('"quickstart"', f'"{name}"'), encoding="utf-8")
    return folder


def show(what: str, call: Callable[[], object], times: int = 1) -> None:
    """Print the clock's seconds and the CPU's of a call that does something so many times."""
    clock, cpu = time.perf_counter(), time.process_time()
    call()
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    print(f"{what:22}{clock / times:8.2f} s {cpu / times:8.2f} s of CPU", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--uri", help="of a server or database; SQLite by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        storage, sweep = Path(name), f"mirror-{uuid.uuid4().hex[:8]}"
        folder = copied(storage, sweep, given.trials)
        trials = load_trials(folder)
        Mirror(storage, "empty", given.uri).sync([], {"question": "?"})  # makes the database
        mirror = Mirror(storage, sweep, given.uri)

        def sync(shown: list[Trial], by: Mirror = mirror, **more: bool) -> Callable[[], None]:
            return lambda: by.sync(shown, {"question": "?"}, **more)

        def singly() -> None:
            for at in range(len(trials) - LAST + 1, len(trials) + 1):
                sync(trials[:at])()

        print(f"{len(trials):,} trials", flush=True)
        show(f"all but {LAST}", sync(trials[:-LAST]))
        show("one more", singly, LAST)
        show("again, at the end", sync(trials, finished=True))
        another = Mirror(storage, sweep, given.uri)
        show("again, a new process", sync(trials, another, finished=True))


if __name__ == "__main__":
    main()
