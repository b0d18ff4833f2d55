"""What the closing pass measures when nothing else runs, and scores by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.conversations import write_conversations
from helpers.jobs import make_spec, start_job
from helpers.trials import make_trial

from trainables.common.attempts import claim
from trainables.common.files import write_json
from trainables.common.store import Store
from trainables.efficiency.latency import measure_latency
from trainables.models.dense import load_dense
from trainables.models.families.registry import EMBEDDED
from trainables.records import LOG, RECORD, REPORT, REPORT_SCORES, TrialRecord
from trainables.specs import (
    EfficiencySpec,
    EvaluationSpec,
    ImportanceSpec,
    ModelSpec,
    PruningSpec,
    RecoverySpec,
)
from trainables.trial import closing
from trainables.trial.closing import assess
from trainables.trial.compress import compress
from trainables.trial.jobs import LatencyJob
from trainables.trial.student import export_trial

SPEC = EfficiencySpec(prompt_tokens=5, new_tokens=3, latency_repeats=3, latency_batch=2)


@pytest.fixture
def inputs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Those of a trial whose student is the embedded model itself."""
    model = ModelSpec(path=EMBEDDED)
    dense = load_dense(model)
    monkeypatch.setattr(closing, "load_plan", lambda folder: None)
    monkeypatch.setattr(closing, "finished_student", lambda inputs, plan, folder: dense.model)
    return SimpleNamespace(dense=dense, spec=SimpleNamespace(efficiency=SPEC, model=model))


def test_latency_of_both_batches(inputs: Any, tmp_path: Path) -> None:
    quiet = closing._quiet(inputs, tmp_path, None)
    assert (quiet["latency"].batch, quiet["batched_latency"].batch) == (1, 2)
    assert "memory" not in quiet, "on a CPU nothing is measured; the record holds what is computed"
    assert not (tmp_path / LOG).exists()


def test_what_does_not_fit_leaves_the_rest(
    inputs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*args: Any) -> Any:
        if args[-1] == 2:
            raise RuntimeError("out of memory")
        return measure_latency(*args)

    monkeypatch.setattr(closing, "measure_latency", measure)
    quiet = closing._quiet(inputs, tmp_path, None)
    assert quiet["latency"] is not None
    assert quiet["batched_latency"] is None
    assert (tmp_path / LOG).read_text() == "batched latency was not measured: out of memory\n"


def test_no_batch_no_batched_latency(inputs: Any, tmp_path: Path) -> None:
    inputs.spec.efficiency = SPEC.model_copy(update={"latency_batch": None})
    assert "batched_latency" not in closing._quiet(inputs, tmp_path, None)


def test_a_student_that_cannot_be_made_leaves_the_others_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Path] = []

    def close(folder: Path, *_: Any) -> None:
        if folder.name == "a":
            raise ValueError("bitsandbytes is missing")
        closed.append(folder)

    monkeypatch.setattr(closing, "_close", close)
    folders = (tmp_path / "a", tmp_path / "b")
    with pytest.raises(ValueError, match="bitsandbytes is missing"):
        closing.measure_quietly(LatencyJob(folders=folders, store=tmp_path, attempt="x"))
    assert closed == [tmp_path / "b"]


def test_a_report_of_an_older_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process closes the trial while this one measures."""
    trial = make_trial("t", report=0.9)
    assert trial.report is not None
    write_json(tmp_path / RECORD, trial.record)
    write_json(tmp_path / REPORT_SCORES, trial.report.evaluation)
    inputs = SimpleNamespace(
        dense=SimpleNamespace(weights_digest="d"), data=SimpleNamespace(digest="d")
    )
    monkeypatch.setattr(closing, "load_inputs", lambda *_: inputs)
    monkeypatch.setattr(closing, "_quiet", lambda *_: claim(tmp_path, "newer") or {})
    job = LatencyJob(folders=(tmp_path,), store=tmp_path, attempt="older")
    with pytest.raises(RuntimeError, match="older is stale"):
        closing.measure_quietly(job)
    assert not (tmp_path / REPORT).exists()


SETTINGS = EvaluationSpec(tasks=("tiny_attribute", "tiny_existence"), search_limit=12, batch_size=4)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrialRecord, Store]:
    """A finished trial without recovery, its record, and its store."""
    root = tmp_path_factory.mktemp("assessment")
    (root / "images").mkdir()
    conversations = write_conversations(root / "images", 8)
    pruning = PruningSpec(method="widthwise", ratio=0.6, importance=ImportanceSpec(samples=4))
    spec = make_spec(conversations, pruning=pruning, evaluation=SETTINGS)
    folder, store = root / "t", Store(root / "store")
    job = start_job(folder, spec)
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
