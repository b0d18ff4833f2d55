"""Files of older versions are read; what is gone is refused everywhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.trials import make_trial
from pydantic import ValidationError

from sweeps.engine.spec.ledger import Request
from trainables.common.files import DamagedError, read_json, write_json
from trainables.records import ClosingReport, RecoveryReport, TrialRecord, versions
from trainables.specs import RecoverySpec, TrialSpec
from trainables.trial.jobs import Caches


def _written(path: Path, record: TrialRecord, version: int | None) -> Path:
    """The record as a file of another version, with a setting in its spec that is gone since."""
    plain = record.model_dump(mode="json")
    del plain["record_version"]
    plain["spec"]["recovery"]["gone"] = "on"
    path.write_text(json.dumps(plain if version is None else {"record_version": version, **plain}))
    return path


def test_a_number_stands_in_every_new_file(tmp_path: Path) -> None:
    trial = make_trial("t")
    write_json(tmp_path / "record.json", trial.record)
    assert json.loads((tmp_path / "record.json").read_text())["record_version"] == 2
    assert ClosingReport.model_fields["record_version"].default == 2


def test_removed_settings_are_dropped_from_files_wherever_the_spec_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_trial("t").record
    path = _written(tmp_path / "record.json", record, None)
    with pytest.raises(DamagedError, match="gone"):
        read_json(path, TrialRecord)
    monkeypatch.setattr(versions, "REMOVED", {"RecoverySpec": frozenset({"gone"})})
    assert read_json(path, TrialRecord) == record
    with pytest.raises(ValidationError, match="gone"):
        TrialSpec.model_validate({"recovery": {"gone": "on"}})


def test_the_cache_of_vision_features_is_dropped(tmp_path: Path) -> None:
    spec = TrialSpec(recovery=RecoverySpec(scope="joint"))
    request = Request(
        trial_id="a", index=0, origin="designed", key="k", spec=spec, caches=Caches(teacher=True)
    )
    plain = request.model_dump(mode="json")
    plain["spec"]["recovery"]["vision_cache"] = "on"
    plain["caches"]["vision"] = True
    write_json(tmp_path / "spec.json", plain)
    assert read_json(tmp_path / "spec.json", Request) == request
    report = RecoveryReport(scope="joint", steps=3)
    write_json(tmp_path / "report.json", {**report.model_dump(mode="json"), "vision": "cached"})
    assert read_json(tmp_path / "report.json", RecoveryReport) == report
    with pytest.raises(ValidationError, match="vision_cache"):
        RecoverySpec.model_validate({"vision_cache": "on"})


def test_steps_are_taken_from_the_version_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_trial("t").record
    monkeypatch.setattr(versions, "RECORD_VERSION", 3)
    monkeypatch.setattr(versions, "REMOVED", {"RecoverySpec": frozenset({"gone"})})
    steps = (
        lambda plain: {**plain, "error": "one"},
        lambda plain: {**plain, "error": f"{plain['error']} two"},
    )
    monkeypatch.setattr(versions, "STEPS", {"TrialRecord": steps})
    for version, error in ((None, "one two"), (1, "one two"), (2, "None two"), (3, None)):
        read = read_json(_written(tmp_path / "record.json", record, version), TrialRecord)
        assert (read.record_version, read.error) == (3, error)


def test_a_file_of_a_newer_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "REMOVED", {"RecoverySpec": frozenset({"gone"})})
    path = _written(tmp_path / "record.json", make_trial("t").record, 9)
    with pytest.raises(DamagedError, match=r"record_version=9, .* reads up to 2"):
        read_json(path, TrialRecord)
