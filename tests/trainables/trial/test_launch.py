"""What a finished or failed job leaves: one record, of the attempt that owns the trial."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.jobs import make_job
from helpers.trials import make_trial

from trainables.common.files import read_json
from trainables.records import TrialRecord
from trainables.recovery.train.checkpoint import claim
from trainables.specs import LossSpec, RecoverySpec, TrialSpec
from trainables.trial.launch import _failed, explain, publish


def test_a_record_is_published_once_and_by_the_owner_only(tmp_path: Path) -> None:
    record = make_trial("t").record
    claim(tmp_path, "newer")
    with pytest.raises(RuntimeError, match="stale"):
        publish(make_job(tmp_path), record)
    claim(tmp_path, "a")
    publish(make_job(tmp_path), record)
    with pytest.raises(RuntimeError, match="never rewritten"):
        publish(make_job(tmp_path), record)


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
    _failed(job, error)
    record = read_json(tmp_path / "record.json", TrialRecord)
    assert record.status == "failed"
    assert [s.name for s in record.signatures] == names


def test_errors_are_told_in_one_line() -> None:
    assert explain(ValueError("too\n  much")) == "too much"
    assert explain(RuntimeError("boom")) == "RuntimeError: boom"
    assert explain(ValueError()) == "ValueError: "
