"""What is done to a sweep: a table of faults, and how they are drawn from a seed."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock, Timeout

from chaos.driver import send
from chaos.looking import STAGES, Visit
from trainables.common.attempts import LOCK

if TYPE_CHECKING:
    from chaos.killing import Round

ANY = ""  # stage
SOON = 60.0  # a run is over so many seconds after what ends it


class Ending(NamedTuple):
    """How a run has to end: its code, what it says in one line, and within how many seconds."""

    code: int
    said: str = ""
    seconds: float = SOON


class Fault(NamedTuple):
    """A fault of a kind, at the first visit of a stage; `seconds` is how long it lasts."""

    kind: str
    stage: str
    seconds: float


Do = Callable[["Round", Fault, Visit], "Ending | None"]


class Kind(NamedTuple):
    """How often it is drawn, what it does, and what it needs of the round."""

    weight: int
    do: Do
    needs: str = ""
    once: bool = False  # for a job of a run: Tune starts it again once
    seconds: tuple[float, float] = (0.2, 4.0)


def _kill(run: Round, fault: Fault, visit: Visit) -> None:
    send(visit.pid, signal.SIGKILL)


def _stop(run: Round, fault: Fault, visit: Visit) -> None:
    if send(visit.pid, signal.SIGSTOP):
        run.later(fault.seconds, lambda: send(visit.pid, signal.SIGCONT))


def _lock(run: Round, fault: Fault, visit: Visit) -> None:
    """Hold what every write of the trial needs, as a storage that is slow does."""
    lock = FileLock(run.driver.trials / visit.trial / LOCK)
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        return
    run.later(fault.seconds, lock.release)


def _driver(how: signal.Signals, ending: Ending) -> Do:
    def do(run: Round, fault: Fault, visit: Visit) -> Ending:
        send(run.start.process.pid, how)
        return ending

    return do


def _server(name: str, said: str) -> Do:
    def do(run: Round, fault: Fault, visit: Visit) -> Ending:
        for process in run.driver.processes(name):
            send(process.pid, signal.SIGKILL)
        return Ending(1, said)

    return do


def _take_over(run: Round, fault: Fault, visit: Visit) -> None:
    """Stop the run, let another one take the sweep, and wake the first."""
    pid = run.start.process.pid
    send(pid, signal.SIGSTOP)
    run.taken_over("--take-over")
    run.later(fault.seconds, lambda: send(pid, signal.SIGCONT))


def _mlflow(run: Round, fault: Fault, visit: Visit) -> None:
    assert run.server is not None
    if run.server.answers():
        run.server.kill()
        run.later(fault.seconds, run.server.start)


def _vanish(run: Round, fault: Fault, visit: Visit) -> Ending:
    trials, away = run.driver.trials, run.driver.folder / "away"
    trials.rename(away)
    trials.touch()  # or a trial's log would make the folders anew

    def back() -> None:
        trials.unlink()
        away.rename(trials)

    run.at_end(back)
    return _unwritable(run, "Not a directory")


def _full(run: Round, fault: Fault, visit: Visit) -> Ending:
    balloon = run.driver.storage / "balloon"
    with balloon.open("wb", buffering=0) as file:
        for size in (2**20, 2**12):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    run.at_end(balloon.unlink)
    return _unwritable(run, "No space left on device")


def _unwritable(run: Round, why: str) -> Ending:
    return Ending(1, f"error: '{run.driver.folder}' can no longer be written ({why}). ")


STOPPED = "the same command goes on from here"
KINDS = {
    "kill a trial": Kind(30, _kill, once=True),
    "stop a trial and wake it": Kind(40, _stop),
    "hold a trial's lock": Kind(8, _lock),
    "kill the driver": Kind(5, _driver(signal.SIGKILL, Ending(-signal.SIGKILL))),
    "Ctrl-C": Kind(2, _driver(signal.SIGINT, Ending(130, STOPPED))),
    "SIGTERM to the driver": Kind(2, _driver(signal.SIGTERM, Ending(130, STOPPED))),
    "kill the raylet": Kind(2, _server("raylet", "the raylet")),
    "kill the GCS": Kind(2, _server("gcs_server", "its GCS")),
    "take over a stopped driver": Kind(2, _take_over, seconds=(5.0, 30.0)),
    "kill MLflow's server": Kind(3, _mlflow, needs="server", seconds=(2.0, 20.0)),
    "take the trials away": Kind(2, _vanish),
    "fill the disk": Kind(2, _full, needs="disk"),
}


def draw(
    seed: int, count: int, has: set[str], kinds: tuple[str, ...] = tuple(KINDS)
) -> list[Fault]:
    """So many faults of these kinds, of which none needs what there is not."""
    rng = random.Random(seed)
    able = [name for name in kinds if not KINDS[name].needs or KINDS[name].needs in has]
    weights = [KINDS[name].weight for name in able]
    drawn = rng.choices(able, weights, k=count)
    return [Fault(k, rng.choice(STAGES), rng.uniform(*KINDS[k].seconds)) for k in drawn]


def own_disk(folder: Path) -> bool:
    """Whether a file system of its own, of limited size, could be put there."""
    import os
    import subprocess

    if os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", "size=512m", "chaos", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
