"""A worker group that does one trial after another, in real Ray: what it leaves, how it fails."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from chaos.invariants import contents
from helpers.conversations import write_conversations
from helpers.jobs import few_steps, make_job, make_spec, owner_of, steps_of

from sweeps.engine.run.cluster import OBJECT_STORE_BYTES, SETTINGS
from sweeps.engine.run.orphans import free_orphans
from trainables.common.files import read_json
from trainables.records import CURVES, RECORD, TRAINED, TrialRecord
from trainables.specs import EvaluationSpec, LossSpec

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
EVALUATION = EvaluationSpec(tasks=("tiny_attribute",), search_limit=4, batch_size=2)
MIXTURE = LossSpec(alpha=0.5, beta=0.3, gamma=0.2, hidden_layers=2)
LORA: dict[str, Any] = {"scope": "joint", "zero_stage": 2, "loss": MIXTURE, "lora_dropout": 0.1}
FULL: dict[str, Any] = {"scope": "full", "zero_stage": 1}
NewSlot = Callable[[], Any]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Ray with two CPUs, whose processes find our packages."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**SETTINGS, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}.items():
            patch.setenv(name, value)
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # workers would import slowly
        import ray

        ray.init(
            num_cpus=2,
            include_dashboard=True,  # Train's cleaner asks the State API
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=OBJECT_STORE_BYTES,
        )
        yield ray
        ray.shutdown()


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_conversations(tmp_path_factory.mktemp("images"), 16)


@pytest.fixture
def new_slot(ray: Any) -> Iterator[NewSlot]:
    """A function that starts a process that does jobs, as Tune's trial processes do."""

    class Slot:
        def run(self, job: dict[str, Any], stops: bool = False) -> Any:
            from trainables.trial.launch import run_job

            def report(_: dict[str, Any]) -> None:
                if stops:
                    raise SystemExit(0)

            try:
                return run_job(job, report)
            except SystemExit:
                return "stopped"

        def have_done(self, do: Any, job: dict[str, Any]) -> Any:
            """Let a group of two do something of the test's own."""
            from trainables.trial.errors import failure_of
            from trainables.trial.group import Needs, do_in_group

            try:
                return do_in_group(Needs.of(2, {"CPU": 1}), do, job, None)
            except Exception as error:
                return failure_of(error).message

    slots: list[Any] = []

    def start() -> Any:
        slots.append(ray.remote(num_cpus=0)(Slot).remote())
        return slots[-1]

    yield start
    for slot in slots:
        ray.kill(slot)


def _job(
    folder: Path, conversations: Path, recovery: dict[str, Any], steps: int = 2, **settings: Any
) -> dict[str, Any]:
    spec = make_spec(
        conversations, few_steps(steps, **recovery), evaluation=EVALUATION, workers=2, **settings
    )
    return make_job(folder, spec).model_dump(mode="json")


def test_trials_share_a_group_and_leave_nothing_to_the_next(
    ray: Any, new_slot: NewSlot, conversations: Path, tmp_path: Path
) -> None:
    """The last trial after a good, a stopped and a failed one, and alone in a fresh group."""
    slot = new_slot()

    def run(name: str, recovery: dict[str, Any], stops: bool = False, **settings: Any) -> Any:
        job = _job(tmp_path / name, conversations, recovery, **settings)
        return ray.get(slot.run.remote(job, stops))

    assert run("good", FULL)["status"] == "completed"
    assert run("stopped", LORA, stops=True, rungs=(0.5,)) == "stopped"
    assert not (tmp_path / "stopped" / RECORD).exists()
    failed = run("failed", FULL | {"learning_rate": 1e30}, steps=8)
    assert failed["status"] == "failed"
    assert failed["error"].startswith("FloatingPointError: ")
    assert run("last", LORA)["status"] == "completed"
    workers = {owner_of(tmp_path / name)["pid"] for name in ("good", "stopped", "last")}
    assert len(workers) == 1, "it was another group"

    ray.kill(slot)
    slot, alone = new_slot(), tmp_path / "alone" / "last"
    alone.parent.mkdir()
    assert run("alone/last", LORA)["status"] == "completed"
    assert owner_of(alone)["pid"] not in workers
    warm, fresh = contents(tmp_path / "last"), contents(alone)
    assert {RECORD, CURVES, TRAINED} <= warm.keys()
    assert warm == fresh


def test_a_killed_worker_costs_its_group_and_the_next_one_stays(
    ray: Any, new_slot: NewSlot, conversations: Path, tmp_path: Path
) -> None:
    slot = new_slot()
    slow = FULL | {"checkpoint_every_steps": 5}
    answer = slot.run.remote(_job(tmp_path / "killed", conversations, slow, steps=60))
    while len(steps_of(tmp_path / "killed")) < 20:
        assert not ray.wait([answer], timeout=0.1)[0], ray.get(answer)
    first = owner_of(tmp_path / "killed")
    psutil.Process(first["pid"]).send_signal(signal.SIGKILL)
    assert ray.get(answer)["status"] == "completed"
    second = owner_of(tmp_path / "killed")
    assert second["pid"] != first["pid"]
    assert second["attempt"] != first["attempt"]
    assert second["attempt"].split(".")[0] == first["attempt"].split(".")[0]
    assert steps_of(tmp_path / "killed") == list(range(60))
    record = read_json(tmp_path / "killed" / RECORD, TrialRecord)
    assert record.recovery is not None
    assert (record.recovery.resumed_at_step or 0) >= 15

    assert ray.get(slot.run.remote(_job(tmp_path / "next", conversations, FULL)))["error"] is None
    assert owner_of(tmp_path / "next")["pid"] == second["pid"]


def test_what_a_worker_fails_of_is_told_and_what_kills_it_fails_alone(
    ray: Any, new_slot: NewSlot, tmp_path: Path
) -> None:
    """The other worker waits for it in a collective. A job that kills one is tried twice."""

    def do(job: dict[str, Any], ask: Any) -> dict[str, Any] | None:
        import os
        import signal
        from pathlib import Path

        import torch
        import torch.distributed as dist

        rank = dist.get_rank()
        if rank == job.get("fails"):
            raise ValueError(f"worker {rank} has no data")
        if rank == job.get("dies"):
            with Path(job["starts"]).open("a") as file:
                file.write(f"{os.getpid()}\n")
            os.kill(os.getpid(), signal.SIGKILL)
        pids = torch.zeros(2, dtype=torch.long)
        pids[rank] = os.getpid()
        dist.all_reduce(pids)
        return {"pids": pids.tolist()} if rank == 0 else None

    slot, starts = new_slot(), tmp_path / "starts"

    def have_done(**job: Any) -> Any:
        return ray.get(slot.have_done.remote(do, job))

    first, *failures = have_done(), have_done(fails=1), have_done(fails=0)
    assert failures == ["worker 1 has no data", "worker 0 has no data"]
    assert have_done() == first
    assert len(set(first["pids"])) == 2
    assert "died" in have_done(dies=1, starts=str(starts))
    assert len(set(starts.read_text().split())) == 2
    assert set(have_done()["pids"]).isdisjoint(first["pids"])


def test_what_a_group_holds_is_freed_whenever_its_process_is_killed(
    ray: Any, new_slot: NewSlot
) -> None:
    """Tune ends trial processes that way, once their group is there or while it starts."""

    def do(job: dict[str, Any], ask: Any) -> dict[str, Any]:
        import os

        return {"pid": os.getpid()}

    def wait_for(cpus: int) -> None:
        until = time.monotonic() + 30
        while ray.available_resources().get("CPU", 0) != cpus:
            free_orphans()
            assert time.monotonic() < until, ray.available_resources()
            time.sleep(0.1)

    slot = new_slot()
    process = psutil.Process(ray.get(slot.have_done.remote(do, {}))["pid"])
    assert ray.available_resources().get("CPU", 0) == 0
    ray.kill(slot)
    psutil.wait_procs([process], timeout=30)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    wait_for(2)
    slot = new_slot()
    answer = slot.have_done.remote(do, {})
    wait_for(0)
    assert not ray.wait([answer], timeout=0)[0], "it has started"
    ray.kill(slot)
    wait_for(2)
