"""SIGTERM waits for the checkpoints of the trials that train."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.engine.run.handing_back import checkpoints_on_sigterm
from trainables.common.attempts import claim
from trainables.common.files import write_json
from trainables.common.provenance import now
from trainables.records import ASKED, STAGE, Stage


class EndedError(Exception):
    """What the handler that was there before raises."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    def end(*_: object) -> None:
        raise EndedError

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


def notice() -> None:
    """Send this process what a batch system does, and wait for what comes of it."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60.0)


def trial(folder: Path, stage: str) -> Path:
    """The folder of a trial that is at a stage."""
    folder.mkdir()
    claim(folder, "a")
    write_json(folder / STAGE, Stage(stage=stage, since=now()))
    return folder


def answering(folder: Path, seconds: float) -> threading.Thread:
    """A trial that answers so long after it was asked."""

    def answer() -> None:
        while not (folder / ASKED).exists():
            time.sleep(0.01)
        time.sleep(seconds)
        (folder / ASKED).unlink()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


def test_those_that_train_are_waited_for_and_no_others(tmp_path: Path) -> None:
    trains, loads = trial(tmp_path / "trains", "recover"), trial(tmp_path / "loads", "load")
    answers = answering(trains, 0.5)
    with pytest.raises(EndedError), checkpoints_on_sigterm(lambda: [trains, loads]):
        notice()
    answers.join(0.0)
    assert not answers.is_alive()
    assert not (loads / ASKED).exists()


def test_one_whose_recovery_ends_is_not_waited_for(tmp_path: Path) -> None:
    folder = trial(tmp_path / "trains", "recover")

    def go_on() -> None:
        while not (folder / ASKED).exists():
            time.sleep(0.01)
        write_json(folder / STAGE, Stage(stage="evaluate", since=now()))

    threading.Thread(target=go_on, daemon=True).start()
    with pytest.raises(EndedError), checkpoints_on_sigterm(lambda: [folder]):
        notice()


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    folder = trial(tmp_path / "trains", "recover")  # and never answers
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()
    with pytest.raises(EndedError), checkpoints_on_sigterm(lambda: [folder]):
        notice()
    assert time.monotonic() - began < 15.0, "it waited for what does not come"


def test_a_run_that_was_taken_over_asks_for_nothing(tmp_path: Path) -> None:
    folder = trial(tmp_path / "trains", "recover")

    def running() -> list[Path]:
        raise RuntimeError("another run has it")

    with pytest.raises(EndedError), checkpoints_on_sigterm(running):
        notice()
    assert not (folder / ASKED).exists()
