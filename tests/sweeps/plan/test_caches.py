"""What `plan` says about the teacher's cache."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeps.engine.cli import app
from sweeps.engine.plan.caches import CachePlan, cache_lines, decide, free_bytes, plan_caches
from sweeps.engine.spec.loading import BadInputError
from trainables.models.families.registry import language_shape
from trainables.specs import (
    Budget,
    LossSpec,
    ModelSpec,
    RecoverySpec,
    Seeds,
    TeacherSpec,
    TrialSpec,
)

CONVERSATIONS = 2000


@pytest.fixture
def plan_of(tmp_path: Path) -> Callable[..., CachePlan]:
    def plan(*specs: TrialSpec, more: float = 1.0) -> CachePlan:
        shape = language_shape(specs[0].model)
        return plan_caches(specs, shape, CONVERSATIONS, tmp_path / "not" / "there", more)

    return plan


def trial(loss: LossSpec, seed: int = 0, model: str = "tiny", **recovery: Any) -> TrialSpec:
    settings = {"scope": "joint", "loss": loss, "budget": Budget(epochs=1)} | recovery
    return TrialSpec(
        model=ModelSpec(path=model),
        recovery=RecoverySpec.model_validate(settings),
        seeds=Seeds(data=seed),
    )


CE, L2, KL = LossSpec(), LossSpec(gamma=1.0), LossSpec(beta=1.0)


def test_trials_that_ask_the_same_share_a_cache(plan_of: Callable[..., CachePlan]) -> None:
    smaller = trial(L2, data_fraction=0.2)
    larger = trial(LossSpec(gamma=0.3), data_fraction=1.0)
    hidden, logits = plan_of(smaller, trial(CE), larger, trial(KL, data_fraction=1.0)).teachers
    assert (hidden.trials, logits.trials) == (2, 1)
    assert hidden.keeps == "1 hidden state of all tokens, float32"
    assert logits.keeps == "1 hidden state of the tokens before answers, float32"
    width = language_shape(ModelSpec()).hidden_size
    # The larger holds the smaller; a question, its answer and an image are 22.53 tokens on average.
    size = 22.53 * CONVERSATIONS * width * 4 + 80 * CONVERSATIONS
    assert hidden.choice.size_bytes == pytest.approx(size, rel=0.001)
    assert "each sample is used 1.2 times" in hidden.choice.reason


def test_more_uses_are_worth_a_cache(plan_of: Callable[..., CachePlan]) -> None:
    spec = trial(L2, data_fraction=1.0)
    assert plan_of(spec).teachers[0].choice.mode == "online"
    for often in (plan_of(spec, more=3.0), plan_of(spec, spec, spec)):
        assert often.teachers[0].choice.mode == "cached"
        assert "used 3 times" in often.teachers[0].choice.reason
        assert often.teachers[0].trials == 3
    three_epochs = trial(L2, data_fraction=1.0, budget=Budget(epochs=3))
    assert "used 3 times" in plan_of(three_epochs).teachers[0].choice.reason


def test_other_seeds_draw_other_samples(plan_of: Callable[..., CachePlan]) -> None:
    specs = [trial(L2, seed, data_fraction=0.032) for seed in (0, 1, 2)]
    (row,) = plan_of(*specs).teachers
    assert "used 1 times" in row.choice.reason
    (row,) = plan_of(*(trial(L2, data_fraction=0.032) for _ in range(3))).teachers
    assert "used 3 times" in row.choice.reason


def test_a_sweep_without_teacher_or_training(plan_of: Callable[..., CachePlan]) -> None:
    supervised = plan_of(trial(CE))
    assert supervised.teachers == ()
    nothing = plan_of(trial(L2, scope="none"))
    assert (nothing.teachers, nothing.size_bytes) == ((), 0)
    assert cache_lines(nothing) == []


def test_lines(plan_of: Callable[..., CachePlan]) -> None:
    asked = TeacherSpec(mode="cached")
    (cached,) = cache_lines(plan_of(trial(L2, data_fraction=1.0, teacher=asked)))
    assert cached.startswith("teacher: cached, ")
    assert cached.endswith("about 1 trials; teacher.mode='cached')")
    (online,) = cache_lines(plan_of(trial(L2, teacher=TeacherSpec(mode="online"))))
    assert online.startswith("teacher: online, because teacher.mode='online' (1 hidden state of")


def test_a_cache_without_room_is_bad_input(plan_of: Callable[..., CachePlan]) -> None:
    small = TeacherSpec(mode="cached", max_cache_gib=1e-4)
    with pytest.raises(BadInputError, match=r"above its limit of 104.9 KiB; raise teacher\.max"):
        plan_of(trial(L2, teacher=small))


def test_caches_share_the_disk(
    plan_of: Callable[..., CachePlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [
        trial(loss, data_fraction=1.0, teacher=TeacherSpec(mode="cached")) for loss in (L2, KL)
    ]
    whole = plan_of(*specs)
    both = sum(row.choice.size_bytes for row in whole.teachers)
    monkeypatch.setattr("sweeps.engine.plan.caches.free_bytes", lambda folder: both)
    assert [row.choice.mode for row in plan_of(*specs).teachers] == ["cached", "cached"]
    monkeypatch.setattr("sweeps.engine.plan.caches.free_bytes", lambda folder: both - 1)
    with pytest.raises(BadInputError, match="are free"):
        plan_of(*specs)


def test_the_driver_decides_for_the_trial(tmp_path: Path) -> None:
    shape = language_shape(ModelSpec(path="tiny"))

    def decided(spec: TrialSpec, trials: int, seeds: int = 1) -> bool:
        return decide(spec, shape, CONVERSATIONS, tmp_path, trials, seeds).teacher

    assert decided(trial(L2), trials=20)
    assert not decided(trial(L2), trials=1)
    assert not decided(trial(CE), trials=20)
    assert not decided(TrialSpec(), trials=20)
    tight = TeacherSpec(max_cache_gib=1e-2)
    assert decided(trial(L2, teacher=tight, data_fraction=0.05), trials=20)
    assert not decided(trial(L2, teacher=tight, data_fraction=0.05), 80, seeds=40)
    full = TeacherSpec(mode="cached", max_cache_gib=1e-9)
    assert not decided(trial(L2, teacher=full), trials=20), "never raises"


def test_what_the_store_holds_is_not_asked_for_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, shape = trial(L2, data_fraction=1.0), language_shape(ModelSpec(path="tiny"))
    needed = plan_caches([spec], shape, CONVERSATIONS, tmp_path, 50.0).size_bytes
    monkeypatch.setattr("sweeps.engine.plan.caches.free_bytes", lambda folder: needed // 10)
    assert not decide(spec, shape, CONVERSATIONS, tmp_path, 50).teacher
    folder = tmp_path / "store" / "teacher" / "abc"
    folder.mkdir(parents=True)
    (folder / "shard-00000.safetensors").write_bytes(b"0" * needed)
    assert decide(spec, shape, CONVERSATIONS, tmp_path, 50).teacher


def test_free_bytes_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") > 0


def test_plan_shows_the_choice(tmp_path: Path) -> None:
    def invoke(*arguments: str) -> Any:
        asked = ["plan", "quickstart", "--storage", str(tmp_path), *arguments]
        return CliRunner().invoke(app, asked, env={"COLUMNS": "200"})

    shown = invoke("--set", "trial.recovery.teacher.mode=online").stdout
    assert "teacher: online, because teacher.mode='online'" in shown
    planned = json.loads(invoke("--json").stdout)
    row = planned["caches"]["teachers"][0]
    assert row["choice"]["mode"] in ("cached", "online")
    assert planned["disk_mib"] > row["choice"]["size_bytes"] / 2**20
    small = "trial.recovery.teacher.max_cache_gib=1e-3"
    refused = invoke("--set", "trial.recovery.teacher.mode=cached", "--set", small)
    assert refused.exit_code == 2


def test_planning_needs_no_torch() -> None:
    code = "import sys, sweeps.engine.plan.planning; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
