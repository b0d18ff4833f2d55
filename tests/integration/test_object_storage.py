"""A sweep whose storage is an object store: as on a disk, and gone on with from another machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import steps_of
from helpers.ray_clusters import ray_cluster
from helpers.small_sweeps import environment, wait

from trainables.common.files import read_json
from trainables.common.objects import objects_at
from trainables.records import CHECKPOINT, RECORD, REPORT, TRAINED, ClosingReport, TrialRecord

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]
JOINT = "001-layerwise-30-joint-ce+reverse_kl+l2"  # the other one is kept as it was pruned
POINT = {"method": "layerwise", "ratio": 0.3, "scope": "projector"}
TRIAL, STEPS = "001-layerwise-30-projector-ce", 120


def _command(machine: Path, *arguments: object) -> dict[str, Any]:
    """What starts the command line on a machine, which is a cache."""
    words = [sys.executable, "-m", "sweeps.engine.cli", *map(str, arguments)]
    return {"args": words, "env": environment() | {"PRUNESWEEP_CACHE": str(machine)}, "text": True}


def _prunesweep(machine: Path, *arguments: object) -> str:
    done = subprocess.run(
        **_command(machine, *arguments), capture_output=True, timeout=540, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def _found(record: TrialRecord) -> dict[str, Any]:
    """What a record says, without times, paths and who ran it."""
    plain = record.model_dump(mode="json", exclude={"provenance", "cost", "sweep"})
    for report in (plain["recovery"], plain["evaluation"], plain["other"] or {}):
        for name in ("speed", "samples_per_second", "seconds"):
            report.pop(name, None)
    return dict(plain)


def _copy(machine: Path) -> Path:
    copies = (machine / "storages").glob("*")
    return next(copies, machine / "none yet")


def test_a_sweep_is_as_on_a_disk_and_goes_on_elsewhere(
    bucket: str, swept: Any, sweep_file: Callable[..., Path], tmp_path: Path
) -> None:
    url, file = f"{bucket}/{tmp_path.name}", sweep_file("small")
    here, there = tmp_path / "here", tmp_path / "there"
    run = subprocess.Popen(
        **_command(here, "run", file, "--storage", url),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 400
    try:
        while not any(n.endswith(RECORD) for n in objects_at(url).listed("small/trials")):
            assert run.poll() is None, run.stdout and run.stdout.read()
            assert time.monotonic() < until
            time.sleep(0.5)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    first = {n for n in objects_at(url).listed("small/trials") if n.endswith(RECORD)}
    _prunesweep(there, "run", file, "--storage", url, "--take-over")
    on_disk = swept[0]
    for folder in sorted((on_disk / "trials").iterdir()):
        mine, other = (
            read_json(root / "trials" / folder.name / RECORD, TrialRecord)
            for root in (on_disk, _copy(there) / "small")
        )
        assert _found(mine) == _found(other)
        report, again = (
            read_json(root / "trials" / folder.name / REPORT, ClosingReport)
            for root in (on_disk, _copy(there) / "small")
        )
        assert report.evaluation.average == again.evaluation.average
    for name in first:  # by the run that was killed: as it left them
        assert objects_at(url).read(name) == (_copy(there) / name).read_bytes()
    assert not objects_at(url).listed("small/tune")

    third = tmp_path / "third"
    assert "0 jobs in this run" in _prunesweep(third, "run", file, "--storage", url)
    assert not list(_copy(third).rglob(TRAINED)), "weights are fetched when they are asked for"
    _prunesweep(third, "export", f"small/{JOINT}", "--to", third / "model", "--storage", url)
    assert list(_copy(third).rglob(TRAINED))
    counted = "3 completed, 3 scored on the report split"
    assert counted in _prunesweep(tmp_path / "fourth", "status", "small", "--storage", url)


def test_machines_of_a_cluster_have_a_copy_each(
    bucket: str, sweep_file: Callable[..., Path], tmp_path: Path
) -> None:
    """The driver, which is told to end, and the node that trains know each other by the bucket."""
    url, file = f"{bucket}/{tmp_path.name}", sweep_file("spread", designed=[POINT], steps=STEPS)
    here, *nodes = (tmp_path / name for name in ("here", "head", "node"))
    checkpoint = f"spread/trial_files/{TRIAL}/{CHECKPOINT}"
    with ray_cluster(0, 1, caches=nodes) as address:
        command = _command(here, "run", file, "--storage", url, "--address", address)
        run = subprocess.Popen(**command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait(lambda: len(steps_of(_copy(nodes[1]) / "spread" / "trials" / TRIAL)) > 5, run)
        assert not objects_at(url).has(checkpoint)
        run.send_signal(signal.SIGTERM)
        said, _ = run.communicate(timeout=120)
        assert run.returncode != 0, said
        assert objects_at(url).has(checkpoint), said
        _prunesweep(here, "run", file, "--storage", url, "--address", address)
    record = read_json(_copy(here) / "spread" / "trials" / TRIAL / RECORD, TrialRecord)
    assert record.recovery is not None, record.error
    assert record.recovery.resumed_at_step is not None
    assert not objects_at(url).has(checkpoint)
    assert not list(_copy(here).rglob(TRAINED))
    assert list(_copy(nodes[1]).rglob(TRAINED))
