"""A model scored by hand has the scores that its trial recorded, whichever way it is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.conversations import write_conversations

from trainables.common.files import write_json
from trainables.common.store import Store
from trainables.records import RECORD, TrialRecord
from trainables.recovery.train.checkpoint import claim
from trainables.specs import (
    DataSpec,
    EvaluationSpec,
    ImportanceSpec,
    ModelSpec,
    PruningSpec,
    RecoverySpec,
    TrialSpec,
)
from trainables.trial.closing import assess
from trainables.trial.compress import compress
from trainables.trial.jobs import TrialJob
from trainables.trial.student import export_trial

SETTINGS = EvaluationSpec(tasks=("tiny_attribute", "tiny_existence"), search_limit=12, batch_size=4)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrialRecord, Store]:
    """A finished trial without recovery, its record, and its store."""
    root = tmp_path_factory.mktemp("assessment")
    (root / "images").mkdir()
    data = DataSpec(conversations=str(write_conversations(root / "images", 8)))
    spec = TrialSpec(
        data=data,
        pruning=PruningSpec(method="widthwise", ratio=0.6, importance=ImportanceSpec(samples=4)),
        recovery=RecoverySpec(scope="none"),
        evaluation=SETTINGS,
    )
    folder, store = root / "t", Store(root / "store")
    folder.mkdir()
    job = TrialJob(
        trial_id="t", sweep="s", origin="designed", spec=spec, folder=folder, store=store.root,
        attempt="a",
    )  # fmt: skip
    claim(folder, "a")
    record = compress(job)
    assert record is not None
    write_json(folder / RECORD, record)
    return folder, record, store


def test_a_trial_is_built_again_and_scored_as_it_was(
    trial: tuple[Path, TrialRecord, Store],
) -> None:
    folder, record, store = trial
    report = assess(folder, SETTINGS, "search", store, against=ModelSpec())
    timeless = {"samples_per_second": None}
    assert record.evaluation is not None
    assert report.model_copy(update=timeless) == record.evaluation.model_copy(update=timeless)
    assert report.retention is not None
    assert report.retention < 1


def test_an_exported_folder_has_the_trials_scores(
    trial: tuple[Path, TrialRecord, Store], tmp_path: Path
) -> None:
    folder, record, store = trial
    exported = export_trial(folder, tmp_path / "model")
    report = assess(ModelSpec(path=str(exported)), SETTINGS, "search", store)
    assert record.evaluation is not None
    for task, score in record.evaluation.tasks.items():
        assert report.tasks[task].score == score.score
    assert report.retention is None


def test_a_trial_without_a_model_is_refused(
    trial: tuple[Path, TrialRecord, Store], tmp_path: Path
) -> None:
    _, record, store = trial
    trained = record.spec.model_copy(update={"recovery": RecoverySpec(scope="projector")})
    failed = record.model_copy(update={"spec": trained, "status": "failed", "error": "out of luck"})
    write_json(tmp_path / RECORD, failed)
    with pytest.raises(ValueError, match=r"is failed \(out of luck\); it left no model"):
        assess(tmp_path, SETTINGS, "search", store)
    with pytest.raises(ValueError, match="evaluate the folder with --spread"):
        assess(trial[0], SETTINGS, "search", store, spread=True)
