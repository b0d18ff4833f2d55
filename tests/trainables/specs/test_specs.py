"""Specs and records: frozen, strict, equal after JSON."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.trials import make_trial
from pydantic import ValidationError

from trainables.common.files import read_json, write_json
from trainables.records import TrialRecord
from trainables.specs import (
    EvaluationSpec,
    LossSpec,
    PruningSpec,
    RecoverySpec,
    Seeds,
    TrialSpec,
    digest,
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
