"""What jobs ask of Ray: a slot, or what others like them were measured to hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.trials import make_trial

from sweeps.engine.run.shares import Shares, slots_in
from sweeps.engine.spec import Resources, SweepSpec
from trainables.records import CostReport, TrialRecord
from trainables.specs import GIB, TrialSpec
from trainables.trial.jobs import ReportJob, TrialJob

SLOT = {"CPU": 1.0, "GPU": 1.0}
NODES = [{"CPU": 16.0, "GPU": 2.0, "memory": 64 * GIB}]


def _shares(workers: int = 1, **resources: Any) -> Shares:
    trial = TrialSpec(workers=workers)
    sweep = SweepSpec(name="s", question="?", trial=trial, resources=Resources(**resources))
    return Shares(sweep, SLOT, lambda: NODES)


def _job(**settings: Any) -> TrialJob:
    spec = make_trial(**settings).record.spec
    return TrialJob(
        trial_id="t", sweep="s", origin="designed", spec=spec, folder=Path(), store=Path()
    )


def _measured(gpu: float = 0.0, host: float = 0.0, **settings: Any) -> dict[str, TrialRecord]:
    """One trial that held so many MiB, of a GPU with 80 GiB."""
    cost = CostReport(
        device="cpu", devices=1, device_seconds={}, wall_seconds=1.0,
        peak_memory_mib=gpu or None, device_memory_mib=80 * 1024 if gpu else None,
        peak_host_memory_mib=host or None,
    )  # fmt: skip
    return {"a": make_trial("a", **settings).record.model_copy(update={"cost": cost})}


def test_a_job_holds_a_slot() -> None:
    found = _shares().take("a", _job(), _measured(gpu=1000, host=1000))
    assert found == SLOT


def test_trials_share_a_gpu_once_others_like_them_were_measured() -> None:
    shares = _shares(gpus_per_slot="measured")
    assert shares.take("a", _job(), {}) == SLOT
    # 30 GiB and a quarter, and what torch does not count: two fit into 80
    assert shares.take("b", _job(), _measured(gpu=30 * 1024)) == SLOT | {"GPU": 0.5}
    assert shares.take("c", _job(), _measured(gpu=30 * 1024)) == SLOT | {"GPU": 0.5}
    assert shares.take("d", _job(), _measured(gpu=30 * 1024)) is None, "both GPUs are held"
    shares.give_back("b")
    assert shares.take("d", _job(), _measured(gpu=30 * 1024)) == SLOT | {"GPU": 0.5}


@pytest.mark.parametrize(("gpu", "share"), [(70 * 1024, 1.0), (20 * 1024, 0.3333), (100, 0.125)])
def test_a_share_is_a_whole_part(gpu: float, share: float) -> None:
    found = _shares(gpus_per_slot="measured").take("a", _job(), _measured(gpu=gpu))
    assert found == SLOT | {"GPU": share}


@pytest.mark.parametrize(
    "other",
    [
        {"ratio": 0.45},  # was smaller
        {"scope": "projector"},
        {"loss": {"alpha": 1.0}},  # had no teacher
        {"recovery_settings": {"micro_batch_size": 4}},
        {"quantization": "nf4"},
    ],
)
def test_trials_that_may_have_held_less_tell_nothing(other: dict[str, Any]) -> None:
    shares = _shares(gpus_per_slot="measured", memory_gib_per_slot="measured")
    assert shares.take("a", _job(ratio=0.3), _measured(1000, 1000, **other)) == SLOT


def test_a_recovery_that_another_trial_ran_tells_nothing() -> None:
    (record,) = _measured(gpu=1000).values()
    assert record.recovery is not None
    taken = record.recovery.model_copy(update={"trained_by": "s/b"})
    records = {"a": record.model_copy(update={"recovery": taken})}
    assert _shares(gpus_per_slot="measured").take("a", _job(), records) == SLOT


def test_groups_and_closing_jobs_hold_whole_gpus() -> None:
    shares = _shares(workers=2, gpus_per_slot="measured")
    assert shares.take("a", _job(), _measured(gpu=1000)) == SLOT
    shares = _shares(gpus_per_slot="measured")
    report = ReportJob(trial_id="t", folder=Path(), store=Path())
    assert shares.take("r", report, _measured(gpu=1000)) == SLOT


def test_memory_is_asked_for_in_whole_gib_and_never_more_than_a_node_has() -> None:
    shares = _shares(memory_gib_per_slot="measured")
    assert shares.take("a", _job(), _measured(host=3000)) == SLOT | {"memory": 4 * GIB}
    assert shares.take("b", _job(), _measured(host=30 * 1024)) == SLOT | {"memory": 38 * GIB}
    assert shares.take("c", _job(), _measured(host=30 * 1024)) is None
    shares.give_back("a")
    shares.give_back("b")
    assert shares.take("c", _job(), _measured(host=99 * 1024)) == SLOT | {"memory": 64 * GIB}
    shares.give_back("c")
    report = ReportJob(trial_id="t", folder=Path(), store=Path())
    assert shares.take("r", report, _measured(host=3000)) == SLOT | {"memory": 4 * GIB}


def test_a_worker_lies_on_one_node() -> None:
    nodes = [{"CPU": 4.0, "memory": 8 * GIB}, {"CPU": 4.0, "memory": 3 * GIB}]
    assert slots_in(nodes, {"CPU": 1.0}) == 8
    assert slots_in(nodes, {"CPU": 1.0, "memory": 4 * GIB}) == 2
    assert slots_in(nodes, {"CPU": 5.0}) == 0
    assert slots_in([{"GPU": 1.0}], {"GPU": 0.3333}) == 3
