"""One run at a time; a lock that nobody holds any more is taken over."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
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
