"""Trials that differ in what comes after the recovery share it, and nothing else is shared."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.conversations import repaint, write_conversations
from helpers.jobs import few_steps, make_spec, start_job
from helpers.stores import builds
from safetensors.torch import load_file

from trainables.common.clock import Clock
from trainables.common.process_group import destroy_process_group, fresh_single_process_group
from trainables.common.store import Store
from trainables.records import CURVES, TRAINED, RecoveryReport
from trainables.specs import (
    EvaluationSpec,
    LossSpec,
    Seeds,
    TrialSpec,
)
from trainables.trial.inputs import load_inputs
from trainables.trial.jobs import Caches
from trainables.trial.plan import importance_scores, make_plan
from trainables.trial.recover import train_student
from trainables.trial.shared_recovery import KIND, recover_once, recovery_key


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    """The embedded model, a third of it removed, a few steps with every loss term and dropout."""
    images = tmp_path / "images"
    images.mkdir()
    loss = LossSpec(alpha=1.0, beta=0.5, gamma=0.5)
    recovery = few_steps(scope="joint", loss=loss, lora_rank=4, lora_dropout=0.1)
    return make_spec(write_conversations(images, 16), recovery)


@pytest.fixture
def go(tmp_path: Path) -> Iterator[Any]:
    """Recovers a trial in a folder of its name; returns (report, folder, clock, trainings)."""

    def run(name: str, spec: TrialSpec, shared: bool = True) -> Any:
        fresh_single_process_group()
        job = start_job(tmp_path / name, spec, caches=Caches(recovery=shared))
        inputs, clock, trainings = load_inputs(spec, Store(job.store)), Clock(), []
        plan = make_plan(inputs, importance_scores(inputs))

        def train() -> RecoveryReport:
            trainings.append(name)
            return train_student(job, inputs, plan, clock, None)

        report = recover_once(job, inputs, plan, clock, train)
        stages = clock.cost(inputs.dense.model.device, 1).device_seconds
        return report, job.folder, stages, trainings

    yield run
    destroy_process_group()


def _same_but_time(first: RecoveryReport, second: RecoveryReport) -> bool:
    apart: dict[str, Any] = {"speed": None, "trained_by": None}
    return first.model_copy(update=apart) == second.model_copy(update=apart)


def test_a_shared_recovery_is_what_training_again_gives(spec: TrialSpec, go: Any) -> None:
    first, one, stages, trainings = go("first", spec)
    assert trainings == ["first"]
    assert stages["recover"] > 0
    assert first.trained_by is None
    quantized = spec.model_copy(update={"quantization": "nf4"})
    second, two, stages, trainings = go("second", quantized)
    assert trainings == []
    assert "recover" not in stages
    assert second == first.model_copy(update={"trained_by": "s/first"})
    taken_up, _, _, trainings = go("first", spec)
    assert trainings == []
    assert taken_up == first, "a trial that was killed after its recovery trained it itself"
    again, three, _, trainings = go("again", quantized, shared=False)
    assert trainings == ["again"]
    assert again.trained_by is None
    assert _same_but_time(again, first)
    for folder in (two, three):
        assert (folder / CURVES).read_bytes() == (one / CURVES).read_bytes()
        tensors, expected = load_file(folder / TRAINED), load_file(one / TRAINED)
        assert tensors.keys() == expected.keys()
        assert all(tensors[name].equal(expected[name]) for name in expected)
    assert os.path.samefile(one / TRAINED, two / TRAINED), "one file on disk"


def test_what_comes_after_the_recovery_is_not_in_its_key(spec: TrialSpec, tmp_path: Path) -> None:
    def key(**update: Any) -> dict[str, Any]:
        inputs = load_inputs(spec.model_copy(update=update), Store(tmp_path / "store"))
        return recovery_key(inputs, plan)

    inputs = load_inputs(spec, Store(tmp_path / "store"))
    plan = make_plan(inputs, importance_scores(inputs))
    assert key() == key(quantization="llm_int8") == key(evaluation=EvaluationSpec(search_limit=3))
    others = [
        key(seeds=Seeds(train=1)),
        key(workers=2),
        key(recovery=spec.recovery.model_copy(update={"lora_rank": 8})),
        key(recovery=spec.recovery.model_copy(update={"loss": LossSpec()})),
        key(data=spec.data.model_copy(update={"max_tokens": 64})),
    ]
    assert all(other != key() for other in others)
    more = spec.pruning.model_copy(update={"ratio": 0.6})
    other = spec.model_copy(update={"pruning": more})
    inputs = load_inputs(other, Store(tmp_path / "store"))
    smaller = make_plan(inputs, importance_scores(inputs))
    assert recovery_key(load_inputs(spec, Store(tmp_path / "store")), smaller) != key()


def test_other_pictures_under_the_same_names_are_trained_on(
    spec: TrialSpec, go: Any, tmp_path: Path
) -> None:
    _, old, _, _ = go("first", spec)
    repaint(tmp_path / "images")
    report, new, _, trainings = go("second", spec)
    assert trainings == ["second"]
    assert report.trained_by is None
    _, again, _, _ = go("again", spec, shared=False)
    tensors, expected = load_file(new / TRAINED), load_file(again / TRAINED)
    assert all(tensors[name].equal(expected[name]) for name in expected)
    stale = load_file(old / TRAINED)
    assert not all(tensors[name].equal(stale[name]) for name in stale)


def test_trials_with_rungs_train_by_themselves(spec: TrialSpec, go: Any) -> None:
    go("first", spec)
    _, _, stages, trainings = go("second", spec.model_copy(update={"rungs": (0.5,)}))
    assert trainings == ["second"]
    assert "shared recovery" not in stages


def test_a_training_that_fails_leaves_nothing_to_share(
    spec: TrialSpec, go: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "trainables.trial.recover.recover",
            lambda *_: (_ for _ in ()).throw(FloatingPointError("diverged")),
        )
        with pytest.raises(FloatingPointError):
            go("first", spec)
    assert builds(Store(tmp_path / "store"), KIND) == []
    report, _, _, trainings = go("second", spec)
    assert trainings == ["second"]
    assert report.trained_by is None


def test_a_trial_waits_for_the_one_that_trains(spec: TrialSpec, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    inputs = load_inputs(spec, store)
    plan = make_plan(inputs, importance_scores(inputs))
    begun, go_on = threading.Event(), threading.Event()
    reports: dict[str, RecoveryReport] = {}

    def recover(name: str, train: Any) -> None:
        job = start_job(tmp_path / name, spec, attempt=name, caches=Caches(recovery=True))
        reports[name] = recover_once(job, inputs, plan, Clock(), lambda: train(job.folder))

    def slow(folder: Path) -> RecoveryReport:
        begun.set()
        assert go_on.wait(20)
        (folder / TRAINED).write_bytes(b"trained")
        (folder / CURVES).write_text("{}\n")
        return RecoveryReport(scope="joint", steps=3)

    def never(folder: Path) -> RecoveryReport:
        raise AssertionError("both train")

    first = threading.Thread(target=recover, args=("first", slow))
    first.start()
    assert begun.wait(20)
    second = threading.Thread(target=recover, args=("second", never))
    second.start()
    second.join(0.3)
    assert second.is_alive()
    go_on.set()
    first.join(20)
    second.join(20)
    assert reports["second"].trained_by == "s/first"
    assert (tmp_path / "second" / TRAINED).read_bytes() == b"trained"


GROUP = """
import sys
from pathlib import Path
import torch.distributed as dist
from trainables.trial.inputs import load_inputs
from trainables.trial.jobs import TrialJob
from trainables.trial.plan import importance_scores, make_plan
from trainables.common.clock import Clock
from trainables.records import RecoveryReport
from trainables.common.attempts import claim
from trainables.trial.shared_recovery import recover_once
from trainables.specs import TrialSpec
from trainables.common.store import Store

root, rank = Path(sys.argv[1]), int(sys.argv[2])
spec = TrialSpec.model_validate_json((root / "spec.json").read_text())
dist.init_process_group("gloo", init_method=f"file://{root}/meeting", rank=rank, world_size=2)
store = Store(root / "store")
inputs = load_inputs(spec, store)
plan = make_plan(inputs, importance_scores(inputs))
for name in ("first", "second"):
    folder = root / name
    if rank == 0:
        folder.mkdir()
        claim(folder, "attempt")
    dist.barrier()
    job = TrialJob(trial_id=name, sweep="s", origin="designed", spec=spec, folder=folder,
                   store=store.root, attempt="attempt", caches={"recovery": True})

    def train():
        dist.barrier()  # hangs, if not all of the group train
        print(rank, "trains", name, flush=True)
        if rank == 0:
            (folder / "recovered.safetensors").write_bytes(b"trained")
            (folder / "curves.jsonl").write_text("{}")
        return RecoveryReport(scope="joint", steps=3)

    report = recover_once(job, inputs, plan, Clock(), train)
    print(rank, name, report.steps, report.trained_by, flush=True)
    dist.barrier()
"""


@pytest.mark.slow
def test_a_group_of_workers_trains_or_takes_together(spec: TrialSpec, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(spec.model_copy(update={"workers": 2}).model_dump_json())
    started = [
        subprocess.Popen(
            [sys.executable, "-c", GROUP, str(tmp_path), str(rank)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=120)[0] for process in started]
    for rank, text in enumerate(said):
        lines = [line for line in text.splitlines() if line.startswith(str(rank))]
        assert lines == [
            f"{rank} trains first",
            f"{rank} first 3 None",
            f"{rank} second 3 s/first",
        ], text
    assert (tmp_path / "second" / TRAINED).read_bytes() == b"trained"
