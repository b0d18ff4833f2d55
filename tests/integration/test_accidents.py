"""Kills and Ctrl-C in the middle: nothing finished is lost, nothing runs twice."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.small_sweeps import Prunesweep, Start, wait

from sweeps.engine.run.lock import lock_holder
from trainables.common.files import read_json
from trainables.records import TrialRecord

pytestmark = [pytest.mark.integration, pytest.mark.slow]
POINTS = tuple(
    {"method": method, "ratio": 0.3, "scope": "projector", "lr_scale": scale}
    for scale in (0.5, 1.0, 2.0)
    for method in ("layerwise", "widthwise")
)


def _state(folder: Path) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in folder.glob("trials/*/record.json")}


def _assert_each_exactly_once(folder: Path, before: dict[str, int]) -> None:
    after = _state(folder)
    assert len(after) == len(POINTS) + 1
    assert {name: after[name] for name in before} == before, "a finished record was rewritten"
    requests = [json.loads(p.read_text()) for p in folder.glob("trials/*/spec.json")]
    assert len({r["key"] for r in requests}) == len(requests) == len(after)
    records = [read_json(p, TrialRecord) for p in folder.glob("trials/*/record.json")]
    assert {r.status for r in records} == {"completed"}


def test_a_killed_driver_resumes(
    start: Start,
    sweep_file: Callable[..., Path],
    prunesweep: Prunesweep,
    storage: Path,
) -> None:
    path, folder = sweep_file("killed", designed=POINTS, steps=40, every=4), storage / "killed"
    process = start(path)
    wait(lambda: len(_state(folder)) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(4)  # trial processes may write until they notice
    before = _state(folder)
    assert len(before) < len(POINTS) + 1, "the sweep was over before the kill"
    prunesweep("run", path)
    _assert_each_exactly_once(folder, before)


def test_ctrl_c_ends_the_run_and_says_how_to_go_on(
    start: Start,
    sweep_file: Callable[..., Path],
    prunesweep: Prunesweep,
    storage: Path,
) -> None:
    path, folder = sweep_file("stopped", designed=POINTS, steps=40), storage / "stopped"
    process = start(path)
    wait(lambda: lock_holder(folder) is not None, process)
    refused = prunesweep("run", path, code=2)  # while Ray starts up: no trial is over yet
    assert str(process.pid) in refused.stderr
    wait(lambda: len(_state(folder)) >= 2, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from here" in output
    assert "Traceback" not in output
    assert list(Path("/tmp/ray").glob(f"session_*_{process.pid}")) == [], "Ray's logs go with it"
    before = _state(folder)
    assert lock_holder(folder) is None
    prunesweep("run", path)
    _assert_each_exactly_once(folder, before)


def test_a_storage_that_fails_ends_the_run_with_one_line(
    start: Start,
    sweep_file: Callable[..., Path],
    prunesweep: Prunesweep,
    storage: Path,
) -> None:
    """As when the disk is full; what was finished is there when it is mended."""
    path, folder = sweep_file("full", designed=POINTS, steps=40), storage / "full"
    process = start(path)
    wait(lambda: len(_state(folder)) >= 2, process)
    trials, away = folder / "trials", folder / "away"
    trials.rename(away)
    trials.touch()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    told = [line for line in output.splitlines() if "can no longer be written" in line]
    assert len(told) == 1
    assert told[0].startswith(f"error: '{folder}' can no longer be written (Not a directory).")
    assert "Traceback" not in output
    trials.unlink()
    away.rename(trials)
    before = _state(folder)
    prunesweep("run", path)
    _assert_each_exactly_once(folder, before)


def test_a_ray_that_does_not_start_is_told_in_one_line(
    sweep_file: Callable[..., Path],
    prunesweep: Prunesweep,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nothing")
    said = prunesweep("run", sweep_file("unstarted"), code=2).stderr
    assert "error: Ray did not start on this machine" in said
    assert "Traceback" not in said
    assert not list((storage / "unstarted").glob("trials/*/record.json"))
