"""Specs and records: frozen, strict, torch-free, equal after JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.trials import make_trial
from pydantic import ValidationError

from trainables.common.files import read_json, write_json
from trainables.records import TrialRecord
from trainables.recovery.train import checkpoint
from trainables.specs import (
    EvaluationSpec,
    LossSpec,
    PruningSpec,
    RecoverySpec,
    Seeds,
    TrialSpec,
    digest,
)
from trainables.trial.jobs import LatencyJob, TrialJob, parse_job
from trainables.trial.launch import _failed, explain, publish

TORCH_FREE = (
    "trainables.specs",
    "trainables.records",
    "trainables.trial.jobs",
    "trainables.models.families.registry",
    "trainables.pruning.planning.planner",
    "trainables.evaluation.catalog",
    "trainables.models.work",
    "search_spaces.spaces",
    "analysis.frontier",
    "analysis.output.frontier_files",
    "analysis.output.effect_files",
    "trainables.trial.diagnose",
    "sweeps.engine.cli",
    "sweeps.engine.run.runner",
    "sweeps.engine.plan.planning",
    "sweeps.engine.show.overview",
)


def test_records_and_specs_survive_json(tmp_path: Path) -> None:
    record = make_trial("t").record
    write_json(tmp_path / "record.json", record)
    assert read_json(tmp_path / "record.json", TrialRecord) == record
    spec = TrialSpec(recovery=RecoverySpec(scope="joint", loss=LossSpec(beta=0.5)))
    assert TrialSpec.model_validate_json(spec.model_dump_json()) == spec
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"], "nothing is left beside it"


def test_values_are_frozen_and_strict() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PruningSpec().ratio = 0.5  # type: ignore[misc]
    with pytest.raises(ValidationError, match="extra"):
        PruningSpec.model_validate({"ratoi": 0.5})
    for ratio in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValidationError):
            PruningSpec(ratio=ratio)


def test_a_record_never_holds_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"score": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_no_active_loss_and_idle_rungs_are_refused() -> None:
    with pytest.raises(ValidationError, match="nothing to train on"):
        LossSpec(alpha=0)
    for rungs in ((0.5, 0.25), (0.0,), (1.0,)):
        with pytest.raises(ValidationError, match="rising fractions"):
            TrialSpec(rungs=rungs)


def test_blank_images_are_asked_of_scored_questions_only() -> None:
    assert EvaluationSpec(blank_image_limit=20, search_limit=20).blank_image_limit == 20
    assert EvaluationSpec(blank_image_limit=20).search_limit is None
    with pytest.raises(ValidationError, match="blank_image_limit=21 exceeds search_limit=20"):
        EvaluationSpec(blank_image_limit=21, search_limit=20)


def test_a_configuration_is_a_trial_without_its_seeds() -> None:
    spec = TrialSpec(pruning=PruningSpec(ratio=0.3))
    other = spec.model_copy(update={"seeds": spec.seeds.shifted(2), "rungs": (0.5,)})
    assert other.seeds == Seeds(calibration=2, data=2, train=2)
    assert other.configuration == spec.configuration
    assert TrialSpec(pruning=PruningSpec(ratio=0.4)).configuration != spec.configuration


def test_normalised_weights_and_names() -> None:
    loss = LossSpec(alpha=1, beta=2, gamma=1)
    assert loss.normalised == (0.25, 0.5, 0.25)
    assert loss.terms == "ce+reverse_kl+l2"
    assert LossSpec(alpha=0, gamma=3).terms == "l2"


def test_digests_do_not_depend_on_key_order() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})


@pytest.mark.parametrize("module", TORCH_FREE)
def test_the_driver_side_imports_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'transformers', 'deepspeed', 'lmms_eval', 'ray', 'mlflow', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _job(folder: Path) -> TrialJob:
    return TrialJob(
        trial_id="t", sweep="s", origin="designed", spec=TrialSpec(), folder=folder,
        store=folder / "store", attempt="a",
    )  # fmt: skip


def test_jobs_travel_as_plain_data(tmp_path: Path) -> None:
    for job in (_job(tmp_path), LatencyJob(folders=(tmp_path,), store=tmp_path, attempt="b")):
        assert parse_job(json.loads(job.model_dump_json())) == job


def test_a_record_is_published_once_and_by_the_owner_only(tmp_path: Path) -> None:
    record = make_trial("t").record
    checkpoint.claim(tmp_path, "newer")
    with pytest.raises(RuntimeError, match="stale"):
        publish(_job(tmp_path), record)
    checkpoint.claim(tmp_path, "a")
    publish(_job(tmp_path), record)
    with pytest.raises(RuntimeError, match="never rewritten"):
        publish(_job(tmp_path), record)


@pytest.mark.parametrize(
    ("alpha", "error", "names"),
    [
        (0.0, FloatingPointError("loss terms are not finite"), ["kd_only_instability"]),
        (0.0, RuntimeError("no memory"), []),
        (1.0, FloatingPointError("loss terms are not finite"), []),
    ],
)
def test_a_diverged_distillation_is_named_in_the_failed_record(
    alpha: float, error: Exception, names: list[str], tmp_path: Path
) -> None:
    recovery = RecoverySpec(scope="joint", loss=LossSpec(alpha=alpha, beta=1.0))
    job = _job(tmp_path).model_copy(update={"spec": TrialSpec(recovery=recovery)})
    checkpoint.claim(tmp_path, job.attempt)
    _failed(job, error)
    record = read_json(tmp_path / "record.json", TrialRecord)
    assert record.status == "failed"
    assert [s.name for s in record.signatures] == names


def test_errors_are_told_in_one_line() -> None:
    assert explain(ValueError("too\n  much")) == "too much"
    assert explain(RuntimeError("boom")) == "RuntimeError: boom"
    assert explain(ValueError()) == "ValueError: "
