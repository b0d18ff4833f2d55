"""SIGTERM, the notice that a machine is about to be taken, asks trials for checkpoints.

Batch systems, Kubernetes and spot machines send it some time before they kill. A recovery that
keeps checkpoints has one of its last interval; with the notice it loses nothing, whatever its
cadence.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from sweeps.engine.run.at_work import at_work
from trainables.common.copies import is_there, pull, touch
from trainables.records import ASKED

WAIT_SECONDS = 20.0  # Kubernetes kills a pod 30 s after its SIGTERM
RECOVERS = "recover"  # the stage


@contextmanager
def checkpoints_on_sigterm(running: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """During the block the first SIGTERM does what it did before once trials are at a checkpoint.

    Args:
        running: the folders of the trials that run; it raises where they are another run's by now.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can it be heard
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def hand_back(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)  # a second one does not wait
        with suppress(Exception):  # of a storage that is gone, or of whoever took over
            wait_for_checkpoints(running())
        if callable(before):
            before(number, frame)
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, hand_back)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def ask_for_checkpoints(folders: Iterable[Path]) -> list[Path]:
    """Ask the trials that train right now for a checkpoint; those that were asked."""
    asked = []
    for folder in folders:
        pull(folder, rest=False)  # what it is at, on another machine
        if at_work(folder)[0] == RECOVERS:
            touch(folder / ASKED)
            asked.append(folder)
    return asked


def wait_for_checkpoints(folders: Iterable[Path], seconds: float = WAIT_SECONDS) -> None:
    """Ask, and return when all have answered, have nothing to lose, or have taken too long."""
    waiting, until = ask_for_checkpoints(folders), time.monotonic() + seconds
    while waiting and time.monotonic() < until:
        time.sleep(0.1)
        waiting = [f for f in waiting if is_there(f / ASKED) and at_work(f)[0] == RECOVERS]
