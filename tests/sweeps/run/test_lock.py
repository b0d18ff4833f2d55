"""One run at a time; a lock that nobody holds any more is taken over."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sweeps.engine.run import lock
from sweeps.engine.run.lock import TakenOverError, lock_holder, run_lock
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import BadInputError
from trainables.common import lease as leases
from trainables.common.files import write_json
from trainables.common.lease import Lease, latest, next_lease

SHORT = 1.0  # a lease in these tests


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", SHORT)
    monkeypatch.setattr(leases, "BEAT_SECONDS", SHORT / 10)


def left(folder: Path, **changed: object) -> Lease:
    """A lease that its holder has not ended, of this process if nothing is changed."""
    lease = next_lease(folder, latest(folder))
    assert lease is not None
    lease = lease.model_copy(update=changed)
    write_json(folder / leases.FOLDER / f"{lease.number:06d}.json", lease)
    return lease


def test_a_second_run_is_refused_with_pid_and_host(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(BadInputError) as caught, run_lock(tmp_path):
        pass
    assert f"process {os.getpid()} on {socket.gethostname()}" in str(caught.value)
    assert f"since {datetime.now(UTC):%Y-}" in str(caught.value)
    assert "run --take-over" in str(caught.value)
    assert lock_holder(tmp_path) is None


def test_the_sweep_of_a_dead_process_is_free_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 1e6)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left(tmp_path, pid=dead.pid)
    assert lock_holder(tmp_path) is None
    with run_lock(tmp_path):
        holder = lock_holder(tmp_path)
        assert holder is not None
        assert (holder.pid, holder.number) == (os.getpid(), 2)


def test_a_reused_pid_is_not_the_holder_whatever_the_clock_says(tmp_path: Path) -> None:
    mine = left(tmp_path)
    assert lock_holder(tmp_path) == mine
    left(tmp_path, ticks=mine.ticks - 1)
    with run_lock(tmp_path):
        pass


ELSEWHERE = {"host": socket.gethostname(), "boot": "another one", "pid": 1}


def test_a_lease_of_another_machine_that_is_not_renewed_is_taken_over(tmp_path: Path) -> None:
    """Machines may have one name; what counts is that nothing is heard."""
    theirs, said = left(tmp_path, **ELSEWHERE), list[str]()
    assert lock_holder(tmp_path) == theirs
    begun = time.monotonic()
    with run_lock(tmp_path, say=said.append) as held:
        assert time.monotonic() - begun >= SHORT
        held.check()
    assert "Waiting up to 1 s" in said[0]
    assert f"process 1 on {socket.gethostname()}" in said[0]


def test_a_lease_of_another_machine_that_is_renewed_holds(tmp_path: Path) -> None:
    theirs = left(tmp_path, **ELSEWHERE)
    path, ended = tmp_path / leases.FOLDER / "000001.json", threading.Event()

    def renew() -> None:
        beat = 0
        while not ended.wait(SHORT / 5):
            beat += 1
            write_json(path, theirs.model_copy(update={"beat": beat}))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(BadInputError, match="process 1 on"), run_lock(tmp_path):
            pass
    finally:
        ended.set()
        thread.join()
    with run_lock(tmp_path, take_over=True) as held:  # which does not wait
        held.check()


def test_a_lease_whose_writer_died_belongs_to_nobody(tmp_path: Path) -> None:
    left(tmp_path, ended=True)
    (tmp_path / leases.FOLDER / "000002.json").write_text("{")
    with run_lock(tmp_path) as held:
        held.check()
        assert latest(tmp_path).number == 3  # type: ignore[union-attr]


def test_a_lease_is_renewed_and_an_error_inside_ends_it(tmp_path: Path) -> None:
    def renewed() -> None:
        with run_lock(tmp_path):
            until = time.monotonic() + 10
            while (found := latest(tmp_path)) and not found.beat and time.monotonic() < until:
                time.sleep(0.01)
            assert found
            assert found.beat
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        renewed()
    assert lock_holder(tmp_path) is None
    assert latest(tmp_path).ended  # type: ignore[union-attr]


def test_a_run_that_was_taken_over_may_not_write_and_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes over creates the next number, and nobody asks the earlier one."""
    monkeypatch.setattr(lock.signal, "getsignal", lambda _: signal.SIG_DFL)  # so SIGINT
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    ledger = Ledger(tmp_path, "mine")
    ledger.trials.mkdir(parents=True)
    other = list[Lease]()

    def taken_over() -> None:
        with run_lock(ledger.folder) as held:
            ledger.guard = held.check
            ledger.guard()
            other.append(left(ledger.folder, **ELSEWHERE))
            with pytest.raises(TakenOverError):
                ledger.guard()
            time.sleep(60)

    try:
        with pytest.raises(TakenOverError, match="process 1 on"):
            taken_over()
    finally:
        signal.signal(signal.SIGINT, before)
    assert latest(ledger.folder) == other[0], "not ended by whom it does not belong to"


RACER = """
import shutil
import signal
import sys
from pathlib import Path
from sweeps.engine.run import lock
from trainables.common import lease
from sweeps.engine.spec.loading import BadInputError

lease.LEASE_SECONDS, lease.BEAT_SECONDS = 1.0, 0.05
machine, = sys.argv[1:]
if machine:  # of its own, where a file system keeps the kernel's locks to each
    lease._boot = lambda: machine
    lock.HELD += machine
signal.signal(signal.SIGINT, signal.default_int_handler)
print("ready", flush=True)
for line in sys.stdin:
    try:
        with lock.run_lock(Path(line.strip())):
            print("in", flush=True)
            sys.stdin.readline()
        print("out", flush=True)
    except (BadInputError, lock.TakenOverError) as error:
        print(error, flush=True)
"""


@pytest.fixture
def racers(request: pytest.FixtureRequest) -> Iterator[list[subprocess.Popen[str]]]:
    """Eight processes that try for the lock of each folder whose name they are sent."""
    processes = [_racer(f"machine {place}" if request.param else "") for place in range(8)]
    assert {_answer(p) for p in processes} == {"ready"}
    yield processes
    for process in processes:
        process.communicate()


def _racer(machine: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RACER, machine]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _tell(process: subprocess.Popen[str], line: object) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_run_that_is_suspended_is_taken_over_and_ends_when_it_wakes(tmp_path: Path) -> None:
    process = _racer()
    assert _answer(process) == "ready"
    _tell(process, tmp_path)
    assert _answer(process) == "in"
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(BadInputError, match=f"process {process.pid} on"), run_lock(tmp_path):
            pass
        with run_lock(tmp_path, take_over=True) as held:
            process.send_signal(signal.SIGCONT)
            assert f"taken over by process {os.getpid()} on" in _answer(process)
            held.check()
    finally:
        process.send_signal(signal.SIGCONT)
        process.communicate()


@pytest.mark.parametrize("racers", [False, True], indirect=True, ids=["one", "several"])
def test_one_of_many_takes_over_a_stale_lock(
    racers: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    """16 races of 4 to 8 processes, on one machine or each on another; losers know who won."""
    winners = []
    for race in range(16):
        folder = tmp_path / str(race)
        folder.mkdir()
        several = len(racers[0].args[-1]) > 0  # type: ignore[index, arg-type]
        boot = "gone" if several and race % 2 else leases._boot()
        left(folder, pid=racers[0].pid, ticks=1, boot=boot)
        running = racers[: 4 + race % 5]
        for process in running:
            _tell(process, folder)
        answers = [_answer(process) for process in running]
        inside = [p for p, answer in zip(running, answers, strict=True) if answer == "in"]
        winners.append(len(inside))
        refused = [answer for answer in answers if answer != "in"]
        assert len(inside) != 1 or all(f"process {inside[0].pid} on" in a for a in refused), answers
        for process in inside:
            _tell(process, "leave")
        assert {_answer(process) for process in inside} <= {"out"}
        assert lock_holder(folder) is None
    assert winners == [1] * 16


@pytest.mark.parametrize("how", ["gone", "silent"])
def test_a_storage_that_takes_no_renewal_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """As when it is unmounted, or hangs; nobody else has taken over."""
    monkeypatch.setattr(leases, "AWAY_SECONDS", 2.5)
    folder, told, heard = tmp_path / "sweep", list[str](), threading.Event()
    folder.mkdir()

    def away(why: str) -> None:
        told.append(why)
        heard.set()

    with run_lock(folder, away=away) as held:
        time.sleep(4 * leases.BEAT_SECONDS)
        assert not told
        place, there = folder / leases.FOLDER, tmp_path / "there"
        place.rename(there)
        if how == "silent":  # whoever reads a pipe without a writer waits for one
            place.mkdir()
            os.mkfifo(place / "000001.json")
        assert heard.wait(20.0)
        if how == "silent":
            place.rename(tmp_path / "pipe")
        there.rename(place)
        if how == "silent":
            (tmp_path / "pipe/000001.json").open("w").close()  # lets go who waits there
        held.check()
    said = {"gone": "No such file or directory", "silent": "no answer"}[how]
    (why,) = told
    assert why.startswith(f"'{folder}' can no longer be written ({said}).")
