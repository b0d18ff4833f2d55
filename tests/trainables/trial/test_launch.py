"""What a finished or failed job leaves: one record, of the attempt that owns the trial."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.jobs import make_job
from helpers.trials import make_trial

from trainables.common.attempts import claim
from trainables.common.files import read_json, write_json
from trainables.records import LOG, RECORD, TrialRecord
from trainables.specs import LossSpec, RecoverySpec, TrialSpec
from trainables.trial.errors import explain, failure_of
from trainables.trial.launch import _failed, publish, run_job


def test_a_record_is_published_once_and_by_the_owner_only(tmp_path: Path) -> None:
    record = make_trial("t").record
    claim(tmp_path, "newer")
    with pytest.raises(RuntimeError, match="stale"):
        publish(make_job(tmp_path), record)
    claim(tmp_path, "a")
    publish(make_job(tmp_path), record)
    with pytest.raises(RuntimeError, match="never rewritten"):
        publish(make_job(tmp_path), record)


def test_a_retry_of_a_trial_with_a_record_hands_it_back(tmp_path: Path) -> None:
    """Its process was killed after it had written the record, before it had said so."""
    record = make_trial("t", 0.9).record
    write_json(tmp_path / RECORD, record)
    answers = [run_job(make_job(tmp_path).model_dump(mode="json")) for _ in range(2)]
    for answer in answers:
        assert (answer["status"], answer["error"]) == ("completed", None)
        assert answer["retention"] == pytest.approx(0.9)
    assert read_json(tmp_path / RECORD, TrialRecord) == record


def test_a_job_on_a_full_disk_blames_the_storage_and_not_the_trial(tmp_path: Path) -> None:
    (tmp_path / LOG).symlink_to("/dev/full")
    (tmp_path / RECORD).write_text("{")  # it fails, and cannot say so
    answer = run_job(make_job(tmp_path).model_dump(mode="json"))
    assert answer["storage"]
    assert "No space left on device" in answer["error"]
    assert (tmp_path / RECORD).read_text() == "{"


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
    job = make_job(tmp_path, TrialSpec(recovery=recovery))
    claim(tmp_path, job.attempt)
    _failed(job, failure_of(error), started="2026-11-29T10:00:00+00:00")
    record = read_json(tmp_path / "record.json", TrialRecord)
    assert record.status == "failed"
    assert record.provenance.started == "2026-11-29T10:00:00+00:00"
    assert [s.name for s in record.signatures] == names


def test_errors_are_told_in_one_line() -> None:
    assert explain(ValueError("too\n  much")) == "too much"
    assert explain(RuntimeError("boom")) == "RuntimeError: boom"
    assert explain(ValueError()) == "ValueError: "
