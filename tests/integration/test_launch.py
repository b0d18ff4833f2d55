"""Jobs: what `prunesweep launch --on slurm` writes, as SLURM would run it, and Ray's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.command_line import invoke
from helpers.ray_clusters import ray_cluster
from helpers.small_sweeps import environment

from trainables.common.files import read_json
from trainables.records import TrialRecord

pytestmark = [pytest.mark.integration, pytest.mark.slow]

UNTRAINED = {"method": "layerwise", "ratio": 0.3, "scope": "none"}
# What SLURM brings, as far as one machine goes: a list of nodes, a step, a queue.
SLURM = {
    "scontrol": '[ "$1" = requeue ] && echo "$2" > requeued || echo 127.0.0.1',
    "srun": 'exec "$@"',
}


def test_a_slurm_job_runs_the_sweep_and_queues_again_before_its_time_is_over(
    sweep_file: Callable[..., Path], storage: Path, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in SLURM.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    job, sweep = tmp_path / "job.sbatch", sweep_file("queued", designed=[UNTRAINED])
    invoke("launch", sweep, "--on", "slurm", "--gpus", "0", "--cpus", "2", "--storage", storage,
           "--to", job)  # fmt: skip
    own = {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),  # of the token
        "SLURM_JOB_ID": "12",
        "SLURM_JOB_NODELIST": "here",
    }
    process = subprocess.Popen(
        ["bash", str(job)], cwd=tmp_path, env={**environment(), **own}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "Running command on head node" in line:
            break
    process.send_signal(signal.SIGUSR1)  # as SLURM does, to the batch shell alone
    said += process.communicate(timeout=400)[0]
    assert (tmp_path / "requeued").read_text() == "12\n"
    (path,) = (storage / "queued").glob("trials/001-*/record.json")
    assert read_json(path, TrialRecord).status == "completed", said


def test_a_sweep_is_submitted_as_a_ray_job(
    sweep_file: Callable[..., Path], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `docs/cluster.md` says, with the token that the cluster wants."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 32)
    path = sweep_file("submitted", designed=[UNTRAINED])
    bin_folder = Path(sys.executable).parent
    with ray_cluster(2, dashboard=True) as server:
        submit = [bin_folder / "ray", "job", "submit", "--address", server]
        sweep = ["run", path, "--address", "auto", "--storage", storage]
        done = subprocess.run(
            [*submit, "--", sys.executable, "-m", "sweeps.engine.cli", *sweep],
            capture_output=True, text=True, env=environment(), timeout=400, check=False,
        )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (record,) = (storage / "submitted").glob("trials/001-*/record.json")
    assert read_json(record, TrialRecord).status == "completed", done.stdout
