"""A node falls silent with its trial, which another one goes on with; then the first one wakes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from helpers.jobs import owner_of, steps_of
from helpers.ray_clusters import ray_cluster
from helpers.small_sweeps import Start, wait

from trainables.common.files import read_json
from trainables.records import LOG, RECORD, TrialRecord

pytestmark = [pytest.mark.integration, pytest.mark.slow]
POINT = {"method": "layerwise", "ratio": 0.3, "scope": "projector"}
NAME = "001-layerwise-30-projector-ce"
STEPS = 300
# Ray gives a node up after seconds, in place of most of a minute.
IMPATIENT = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
}


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a head without a CPU, and two nodes with one each."""
    with ray_cluster(0, 1, 1, **IMPATIENT) as address:
        yield address


@pytest.fixture
def stopped() -> Iterator[list[psutil.Process]]:
    """Processes to be woken at the end, whatever happens."""
    processes = list[psutil.Process]()
    yield processes
    for process in processes:
        if process.is_running():
            process.send_signal(signal.SIGCONT)


def test_a_node_that_wakes_is_a_stale_writer(
    cluster: str,
    start: Start,
    sweep_file: Callable[..., Path],
    storage: Path,
    stopped: list[psutil.Process],
) -> None:
    path = sweep_file("split", designed=(POINT,), steps=STEPS, every=10)
    trial = storage / "split" / "trials" / NAME
    process = start(path, "--address", cluster)
    wait(lambda: len(steps_of(trial)) > 30, process)
    first = owner_of(trial)
    worker = psutil.Process(first["pid"])
    raylet = worker.parent()
    assert raylet is not None
    assert raylet.name() == "raylet"
    stopped += [raylet, worker]
    for each in stopped:
        each.send_signal(signal.SIGSTOP)
    before = len(steps_of(trial))
    wait(lambda: owner_of(trial)["attempt"] != first["attempt"], process)
    wait(lambda: len(steps_of(trial)) > before, process)
    second = owner_of(trial)
    worker.send_signal(signal.SIGCONT)  # first, or its raylet would end it at once
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    raylet.send_signal(signal.SIGCONT)
    record = read_json(trial / RECORD, TrialRecord)
    assert record.status == "completed"
    assert record.provenance.attempt == second["attempt"]
    assert steps_of(trial) == list(range(STEPS)), "two writers"
    stale = f"attempt {first['attempt']} is stale"
    assert stale in (trial / LOG).read_text(encoding="utf-8")
