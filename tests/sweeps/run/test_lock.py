"""One run at a time; a lock that nobody holds any more is taken over."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from sweeps.engine.run.lock import FILE, lock_holder, run_lock
from sweeps.engine.spec.loading import BadInputError


def test_a_second_run_is_refused_with_pid_and_host(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(BadInputError) as caught, run_lock(tmp_path):
        pass
    assert str(os.getpid()) in str(caught.value)
    assert socket.gethostname() in str(caught.value)
    assert f"since {datetime.now(UTC):%Y-}" in str(caught.value)
    assert not (tmp_path / FILE).exists()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    owner = {"host": socket.gethostname(), "pid": dead.pid, "started": 1.0}
    (tmp_path / FILE).write_text(json.dumps(owner))
    assert lock_holder(tmp_path) is None
    with run_lock(tmp_path):
        assert lock_holder(tmp_path) == json.loads((tmp_path / FILE).read_text())
        assert lock_holder(tmp_path)["pid"] == os.getpid()  # type: ignore[index]


def test_a_reused_pid_is_not_the_owner(tmp_path: Path) -> None:
    started = psutil.Process().create_time() - 1000
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "started": started}
    (tmp_path / FILE).write_text(json.dumps(owner))
    with run_lock(tmp_path):
        pass


def test_a_lock_of_another_host_holds(tmp_path: Path) -> None:
    owner = {"host": "elsewhere", "pid": 1, "started": 1.0}
    (tmp_path / FILE).write_text(json.dumps(owner))
    with pytest.raises(BadInputError, match=r"elsewhere.*delete"), run_lock(tmp_path):
        pass


def test_an_unreadable_lock_belongs_to_nobody(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    with run_lock(tmp_path):
        pass


def test_an_error_inside_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), run_lock(tmp_path):
        raise RuntimeError
    assert not (tmp_path / FILE).exists()


RACER = """
import sys
from pathlib import Path
from sweeps.engine.run.lock import run_lock
from sweeps.engine.spec.loading import BadInputError

print("ready", flush=True)
for line in sys.stdin:
    try:
        with run_lock(Path(line.strip())):
            print("in", flush=True)
            sys.stdin.readline()
        print("out", flush=True)
    except BadInputError as error:
        print(error, flush=True)
"""


@pytest.fixture
def racers() -> Iterator[list[subprocess.Popen[str]]]:
    """Eight processes that try for the lock of each folder whose name they are sent."""
    command = [sys.executable, "-c", RACER]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    assert {_answer(p) for p in processes} == {"ready"}
    yield processes
    for process in processes:
        process.communicate()


def _tell(process: subprocess.Popen[str], line: object) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_of_many_takes_over_a_stale_lock(
    racers: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    """100 races of 4 to 8 processes; whoever loses is told who won."""
    dead = {"host": socket.gethostname(), "pid": racers[0].pid, "started": 1.0}
    winners = []
    for race in range(100):
        folder = tmp_path / str(race)
        folder.mkdir()
        (folder / FILE).write_text(json.dumps(dead))
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
        assert not (folder / FILE).exists()
    assert winners == [1] * 100


def test_a_lock_that_is_another_runs_by_now_stays(tmp_path: Path) -> None:
    """Somebody deleted the file by hand, as the message says, and another run began."""
    other = json.dumps({"host": "elsewhere", "pid": 1, "started": 1.0})
    with run_lock(tmp_path):
        (tmp_path / FILE).write_text(other)
        with pytest.raises(BadInputError, match="elsewhere"), run_lock(tmp_path):
            pass
    assert (tmp_path / FILE).read_text() == other
