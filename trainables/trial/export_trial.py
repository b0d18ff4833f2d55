"""A finished trial as a stand-alone checkpoint."""

from __future__ import annotations

from pathlib import Path

from trainables.common.files import read_json
from trainables.models.dense import load_dense
from trainables.pruning.export import Dtype, export_student
from trainables.records import RECORD, TrialRecord
from trainables.recovery.train.steps import TRAINED
from trainables.trial.inputs import load_plan


def export_trial(folder: Path, to: Path, dtype: Dtype | None = None) -> Path:
    """Write the model of the trial in `folder` into the new folder `to`.

    Raises:
        ValueError: the trial has no result, or `to` is taken.
    """
    record = read_json(folder / RECORD, TrialRecord)
    if record.status != "completed":
        reason = f" ({record.error})" if record.error else ""
        raise ValueError(f"trial {folder.name} is {record.status}{reason}; it left no model")
    dense = load_dense(record.spec.model)
    recovered = folder / TRAINED if record.spec.recovery.scope != "none" else None
    return export_student(dense, load_plan(folder), recovered, to, record, dtype)
