"""Who may write into a trial's folder: the newest claim, and whatever it starts itself."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from trainables.common import attempts
from trainables.common.attempts import LOCK, claim, claim_within, owned, refuse_stale
from trainables.common.files import replacing, write_json
from trainables.records import CURVES
from trainables.recovery.train.checkpoint import Curves
from trainables.recovery.train.engine import StepResult
from trainables.recovery.train.trained_parameters import save_trained
from trainables.specs import RecoverySpec

STEP = StepResult({"ce": 1.0}, 1.0, 1.0, None)
Write = Callable[[Path, str], None]


def test_the_newest_claim_writes_alone(tmp_path: Path) -> None:
    for name in ("first", "second"):
        claim(tmp_path, name)
        with owned(tmp_path, name):
            pass
    for refused in (refuse_stale, lambda *a: owned(*a).__enter__()):
        with pytest.raises(RuntimeError, match=r"first is stale.*belongs to attempt second"):
            refused(tmp_path, "first")


def test_a_start_of_its_workers_is_part_of_an_attempt(tmp_path: Path) -> None:
    """A worker group that is started again: its older workers are refused, its driver is not."""
    claim(tmp_path, "trial")
    first, second = (claim_within(tmp_path, "trial") for _ in range(2))
    refuse_stale(tmp_path, second)
    refuse_stale(tmp_path, "trial")
    with pytest.raises(RuntimeError, match="stale"):
        refuse_stale(tmp_path, first)
    claim(tmp_path, "trial2")
    for older in (second, "trial"):
        with pytest.raises(RuntimeError, match="stale"):
            refuse_stale(tmp_path, older)
    with pytest.raises(RuntimeError, match="stale"):
        claim_within(tmp_path, "trial")


def _curve_line(folder: Path, attempt: str) -> None:
    curves = Curves(folder, 3, attempt)
    claim(folder, "newer")
    curves.write(3, STEP, 0.1)


def _curves(folder: Path, attempt: str) -> None:
    claim(folder, "newer")
    Curves(folder, 1, attempt)


def _tensors(folder: Path, attempt: str) -> None:
    gate = owned(folder, attempt)
    claim(folder, "newer")
    save_trained(folder / "t.safetensors", {"p": torch.ones(2)}, RecoverySpec(), gate)


def _value(folder: Path, attempt: str) -> None:
    claim(folder, "newer")
    write_json(folder / "plan.json", {"layers": 2}, owned(folder, attempt))


@pytest.mark.parametrize("write", [_curve_line, _curves, _tensors, _value])
def test_what_an_older_writer_brings_is_not_written(write: Write, tmp_path: Path) -> None:
    (tmp_path / CURVES).write_text("".join(f'{{"step": {i}}}\n' for i in range(3)))
    claim(tmp_path, "older")
    with pytest.raises(RuntimeError, match="older is stale"):
        write(tmp_path, "older")
    lines = (tmp_path / CURVES).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2]
    assert {p.name for p in tmp_path.iterdir()} == {CURVES, LOCK, "attempt.json"}


def test_a_claim_takes_an_unfinished_file_away(tmp_path: Path) -> None:
    """A large checkpoint that an older process is about to put in place."""
    claim(tmp_path, "older")

    def write() -> None:
        with replacing(tmp_path / "big", owned(tmp_path, "older")) as part:
            part.write_bytes(b"weights")
            claim(tmp_path, "newer")

    with pytest.raises(FileNotFoundError):
        write()
    assert not (tmp_path / "big").exists()


def test_no_claim_comes_between_check_and_write(tmp_path: Path) -> None:
    claim(tmp_path, "older")
    newer = threading.Thread(target=claim, args=(tmp_path, "newer"))
    with owned(tmp_path, "older"):
        newer.start()
        newer.join(0.3)
        assert newer.is_alive()
        refuse_stale(tmp_path, "older")
    newer.join()
    refuse_stale(tmp_path, "newer")


def test_a_writer_that_is_suspended_in_a_write_does_not_hold_up_a_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "PATIENCE_SECONDS", 0.1)
    with FileLock(tmp_path / LOCK, is_singleton=False):
        claim(tmp_path, "newer")
    refuse_stale(tmp_path, "newer")


def test_many_processes_leave_whole_lines_of_one_each_time(tmp_path: Path) -> None:
    """Five processes that claim and write as fast as they can, ten times each."""
    code = (
        "import sys; from pathlib import Path\n"
        "from trainables.common.attempts import claim, new_attempt, owned\n"
        "folder = Path(sys.argv[1])\n"
        "for _ in range(10):\n"
        "    me = new_attempt()\n"
        "    claim(folder, me)\n"
        "    try:\n"
        "        for i in range(50):\n"
        "            with owned(folder, me), (folder / 'log').open('a') as file:\n"
        "                file.write(f'{me} {i}\\n')\n"
        "    except RuntimeError:\n"
        "        pass\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(5)]
    assert [p.wait() for p in processes] == [0] * 5
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    writers = list(dict.fromkeys(name for name, _ in lines))
    expected = [[name, str(i)] for name in writers for i in range(sum(n == name for n, _ in lines))]
    assert lines == expected, "an older writer wrote after a newer one"
    assert len(writers) > 5
