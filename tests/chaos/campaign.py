"""An undisturbed sweep, then sweeps under faults until all that were drawn have come about."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from helpers.mlflow_servers import MlflowServer
from helpers.small_sweeps import environment

from chaos.driver import Driver
from chaos.faults import ANY, KINDS, Fault, draw, own_disk
from chaos.invariants import violations
from chaos.killing import Round, wake
from chaos.looking import dates

MIRRORED = "kill MLflow's server"
END_SECONDS = 1800
PER_ROUND = 25
MOST_WRONG = 10


@dataclass
class Found:
    """What came of a campaign: faults by kind, what was violated, and what it took."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    rounds: int = 0
    seconds: float = 0.0


def campaign(
    folder: Path, faults: int, seed: int, kinds: tuple[str, ...] = tuple(KINDS), workers: int = 1
) -> Found:
    """Put so many faults, drawn from the seed, upon as many sweeps as it takes."""
    folder.mkdir(parents=True, exist_ok=True)
    found, began = Found(), time.monotonic()
    with _mlflow(folder, MIRRORED in kinds) as server, _disk(folder / "runs") as limited:
        has = ({"server"} if server else set()) | ({"disk"} if limited else set())
        todo = draw(seed, faults, has, kinds)
        quiet = Driver("quiet", folder / "quiet", folder, workers)
        start = quiet.start()  # where the folder has it already, this only looks
        assert start.process.wait(END_SECONDS) == 0, start.output
        if server is not None:
            server.wait()
        waiting: list[Fault] = []
        while (todo or waiting) and len(found.wrong) < MOST_WRONG:
            found.rounds += 1
            name = f"round{found.rounds}"
            new = PER_ROUND - len(waiting)
            waiting, todo = waiting + todo[:new], todo[new:]
            storage = folder / "runs" / name
            _with_data(quiet.storage / "store", storage / "store")
            driver = Driver(name, storage, folder, workers, server and server.uri)
            run = Round(driver, waiting, server)
            wrong = [f"{name}: {what}" for what in _round(run, quiet)]
            print(f"{name}: {run.done.total()} faults", *(wrong or ["nothing is wrong"]), sep="\n")
            found.wrong += wrong
            found.done += run.done
            shutil.rmtree(storage)
            # What did not come about at its stage takes the first that comes.
            waiting = [fault._replace(stage=ANY) for fault in run.faults]
    found.seconds = time.monotonic() - began
    return found


def _round(run: Round, quiet: Driver) -> list[str]:
    driver = run.driver
    try:
        run.run()
        wake(driver)
        if run.wrong:
            return run.wrong
        left = driver.left()
        before = dates(driver.trials)
        start = driver.start()
        code = start.process.wait(END_SECONDS)
        if code != 0 or "0 jobs in this run" not in start.output:
            left.append(f"it is not over: {start.output[-1000:]}")
        if dates(driver.trials) != before:
            left.append("a run of a sweep that is over changed its records")
        return [*left, *driver.left(), *violations(driver.folder, quiet.folder), *_runs(run)]
    finally:
        driver.end()


def _runs(run: Round) -> Iterator[str]:
    """What MLflow holds in place of one run per trial."""
    if run.server is None:
        return
    from mlflow.tracking import MlflowClient

    client, driver = MlflowClient(run.server.uri), run.driver
    experiment = client.get_experiment_by_name(driver.name)
    runs = (
        client.search_runs([experiment.experiment_id], "tags.trial_id != ''") if experiment else []
    )
    held = Counter(each.data.tags["trial_id"] for each in runs)
    if held != Counter(path.name for path in driver.trials.glob("*")):
        yield f"MLflow's runs are {dict(held)}"


def _with_data(store: Path, new: Path) -> None:
    """The embedded model's pictures, which take some seconds to draw; everything else is made."""
    new.mkdir(parents=True)
    for path in store.glob("tiny-data-*"):
        if path.is_dir():
            shutil.copytree(path, new / path.name)


@contextlib.contextmanager
def _mlflow(folder: Path, wanted: bool) -> Iterator[MlflowServer | None]:
    if not wanted:
        yield None
        return
    place = folder / "mlflow"
    place.mkdir(exist_ok=True)
    server = MlflowServer(place, f"sqlite:///{place}/mlflow.db", environment())
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[bool]:
    folder.mkdir(exist_ok=True)
    limited = own_disk(folder)
    try:
        yield limited
    finally:
        if limited:
            subprocess.run(["umount", "-l", str(folder)], check=False)
