"""One small sweep through all real parts: Ray, DeepSpeed, PEFT, lmms-eval, MLflow, the frontier."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_sweeps import DESIGNED, Prunesweep, environment
from helpers.stores import builds
from safetensors.torch import load_file

from trainables.common.files import read_json
from trainables.common.store import Store
from trainables.records import REPORT_SAMPLES, ClosingReport, TrialRecord
from trainables.records.score_table import ScoreTable

pytestmark = [pytest.mark.integration, pytest.mark.slow]
JOINT, PROJECTOR = "001-layerwise-30-joint-ce+reverse_kl+l2", "002-widthwise-30-projector-ce"
FAILING = {"method": "layerwise", "ratio": 0.3, "scope": "joint", "terms": "ce", "lr_scale": 4.0}


def _record(folder: Path, name: str) -> TrialRecord:
    return read_json(folder / "trials" / name / "record.json", TrialRecord)


def test_every_trial_has_a_whole_record(swept: Any) -> None:
    folder, _ = swept
    assert sorted(p.name for p in (folder / "trials").iterdir()) == [JOINT, PROJECTOR, "dense"]
    for name in (JOINT, PROJECTOR, "dense"):
        record = _record(folder, name)
        assert record.status == "completed", record.error
        assert record.pruning is not None
        assert record.evaluation is not None
        assert record.efficiency is not None
        assert len(record.evaluation.tasks) == 5
        assert all(task.samples == 20 for task in record.evaluation.tasks.values())
    joint, projector = _record(folder, JOINT), _record(folder, PROJECTOR)
    assert joint.recovery is not None
    assert projector.recovery is not None
    assert joint.recovery.steps == projector.recovery.steps == 3
    assert set(joint.recovery.first_terms) == {"ce", "reverse_kl", "l2"}
    assert joint.recovery.trained_params > projector.recovery.trained_params > 0
    dense = _record(folder, "dense")
    assert dense.efficiency is not None
    assert joint.efficiency is not None
    assert joint.efficiency.lm_params < 0.75 * dense.efficiency.lm_params


def test_the_closing_pass_reports_split_and_latency(swept: Any) -> None:
    folder, _ = swept
    for name in (JOINT, PROJECTOR, "dense"):
        report = read_json(folder / "trials" / name / "report.json", ClosingReport)
        assert report.evaluation.split == "report"
        assert report.latency is not None
        assert report.latency.median_ms > 0


def test_what_does_not_depend_on_the_ratio_is_computed_once(swept: Any) -> None:
    folder, _ = swept
    store = Store(folder.parent / "store")
    criteria = [row["key"]["criterion"] for row in builds(store, "importance")]
    assert sorted(criteria) == ["block_influence", "taylor"]
    splits = [json.dumps(row["key"], sort_keys=True) for row in builds(store, "dense-scores")]
    assert len(splits) == len(set(splits))


def test_one_slot_serves_several_trials(swept: Any) -> None:
    folder, _ = swept
    pids = [
        json.loads((folder / "trials" / name / "attempt.json").read_text())["pid"]
        for name in (JOINT, PROJECTOR, "dense")
    ]
    assert len(set(pids)) == 1


def test_mlflow_search_equals_the_frontier_file(swept: Any) -> None:
    from mlflow.tracking import MlflowClient

    folder, _ = swept
    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.frontier = 'true'")
    with (folder / "frontier.csv").open() as file:
        rows = {row["trial_id"]: row for row in csv.DictReader(file)}
    assert {run.data.tags["trial_id"] for run in runs} == set(rows)
    for run in runs:
        row = rows[run.data.tags["trial_id"]]
        assert run.data.metrics["retention"] == pytest.approx(float(row["retention"]))
        assert run.data.metrics["weights_mib"] == pytest.approx(float(row["weights_mib"]))


def test_the_answers_of_all_models_stand_side_by_side(swept: Any, prunesweep: Prunesweep) -> None:
    """In the page and in MLflow, over samples whose scores are those of the report split."""
    from mlflow.tracking import MlflowClient

    folder, _ = swept
    answers = json.loads(prunesweep("answers", "small", JOINT, PROJECTOR, "--json").stdout)
    assert answers["models"][0]["trial_id"] == "dense"
    assert {m["trial_id"] for m in answers["models"][1:]} == {JOINT, PROJECTOR}
    assert len(answers["rows"]) == 8
    said = ScoreTable.load(folder / "trials" / PROJECTOR / REPORT_SAMPLES)
    place = [m["trial_id"] for m in answers["models"]].index(PROJECTOR)
    for row in answers["rows"]:
        samples = said.tasks[row["sample"]["task"]]
        at = samples.doc_ids.index(row["sample"]["doc_id"])
        assert row["answers"][place] == {"text": samples.answers[at], "score": samples.scores[at]}
        right = row["sample"]["truth"][0].lower() == samples.answers[at].strip().lower()
        assert right == (samples.scores[at] == 100.0)
    assert '<section class="answers"' in (folder / "report.html").read_text()
    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id], "tags.role = 'parent'")
    held = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert {"report.html", "answers_table.json", "table_images"} <= held


def test_the_same_command_again_starts_nothing(swept: Any, prunesweep: Prunesweep) -> None:
    folder, _ = swept
    before = {p: p.stat().st_mtime_ns for p in folder.glob("trials/*/*.json")}
    again = prunesweep("run", folder.parent.parent / "missing.py", code=2)
    assert "does not exist" in again.stderr
    again = prunesweep("run", _file_of(swept))
    assert "0 jobs in this run" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in folder.glob("trials/*/*.json")} == before


def test_a_trial_in_a_used_slot_equals_one_in_a_fresh_process(
    swept: Any, prunesweep: Prunesweep
) -> None:
    folder, _ = swept
    prunesweep("rerun", f"small/{PROJECTOR}")
    prunesweep("rerun", f"small/{JOINT}")
    for name, again in (
        (PROJECTOR, "003-widthwise-30-projector-ce-2"),
        (JOINT, "004-layerwise-30-joint-ce+reverse_kl+l2-2"),
    ):
        first, second = _record(folder, name), _record(folder, again)
        assert first.pruning == second.pruning
        assert first.recovery is not None
        assert second.recovery is not None
        assert first.recovery.model_copy(update={"speed": None}) == second.recovery.model_copy(
            update={"speed": None}
        )
        assert first.evaluation is not None
        assert second.evaluation is not None
        untimed = {"samples_per_second": None}
        assert first.evaluation.model_copy(update=untimed) == second.evaluation.model_copy(
            update=untimed
        )
        tensors = [
            load_file(folder / "trials" / n / "recovered.safetensors") for n in (name, again)
        ]
        assert tensors[0].keys() == tensors[1].keys()
        assert all(torch.equal(value, tensors[1][key]) for key, value in tensors[0].items())


def test_export_loads_with_plain_transformers(
    swept: Any, prunesweep: Prunesweep, tmp_path: Path
) -> None:
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    to = tmp_path / "exported"
    prunesweep("export", f"small/{JOINT}", "--to", to)
    model = LlavaForConditionalGeneration.from_pretrained(to)
    AutoProcessor.from_pretrained(to)
    record = _record(swept[0], JOINT)
    assert record.pruning is not None
    assert model.config.text_config.num_hidden_layers == record.pruning.layers
    assert {"README.md", "prune_plan.json", "LICENSE"} <= {p.name for p in to.iterdir()}
    refused = prunesweep("export", f"small/{JOINT}", "--to", to, code=2)
    assert "nothing is overwritten" in refused.stderr


def test_reading_commands(swept: Any, prunesweep: Prunesweep) -> None:
    status = json.loads(prunesweep("status", "small", "--json").stdout)
    assert status[0]["counts"]["completed"] >= 3
    found = json.loads(prunesweep("frontier", "small", "--json", "--x", "tflops").stdout)
    assert found["x"] == "tflops"
    assert found["split"] == "report"
    chosen = prunesweep("recommend", "small", "--max", "weights_mib=1000")
    assert "prunesweep export small/" in chosen.stdout
    nothing = prunesweep("recommend", "small", "--max", "weights_mib=0.001", code=1)
    assert "weights_mib" in nothing.stdout
    unknown = prunesweep("recommend", "small", "--max", "weight_mib=3", code=2)
    assert "weights_mib" in unknown.stderr
    missing = prunesweep("export", "small/001-layerwise-30-jiont", "--to", "x", code=2)
    assert "Did you mean" in missing.stderr


def test_the_driver_never_imports_torch(
    swept: Any, storage: Path, sweep_file: Callable[..., Path]
) -> None:
    """A new trial, so that the driver starts Ray, Optuna, MLflow and the frontier."""
    path = sweep_file("small", designed=(*DESIGNED, {**DESIGNED[1], "ratio": 0.3, "lr_scale": 0.5}))
    code = (
        "import sys\n"
        "from sweeps.engine.cli import app\n"
        f"app(['run', {str(path)!r}, '--storage', {str(storage)!r}], standalone_mode=False)\n"
        "bad = {'torch', 'transformers', 'deepspeed', 'lmms_eval'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(),
        timeout=540, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 trials" not in done.stderr


def test_a_failing_trial_does_not_cost_its_slot(
    prunesweep: Prunesweep, sweep_file: Callable[..., Path], storage: Path
) -> None:
    """A rate that diverges: its trial is recorded as failed, the others go on, exit code 1."""
    points = ({**FAILING, "method": m} for m in ("layerwise", "widthwise"))
    path = sweep_file("failing", designed=(*points, *DESIGNED), steps=4)
    done = prunesweep("run", path, "--set", "trial.recovery.learning_rate=1e30", code=1)
    folder = storage / "failing"
    failed = [r for r in _records(folder) if r.status == "failed"]
    assert failed
    assert all("not finite" in (r.error or "") for r in failed)
    assert all(r.evaluation is None for r in failed)
    assert _record(folder, "dense").status == "completed"
    assert "Failed:" in done.stderr
    pids = {json.loads(p.read_text())["pid"] for p in folder.glob("trials/*/attempt.json")}
    assert len(pids) == 1


def _records(folder: Path) -> list[TrialRecord]:
    return [read_json(p, TrialRecord) for p in sorted(folder.glob("trials/*/record.json"))]


def _file_of(swept: tuple[Path, subprocess.CompletedProcess[str]]) -> str:
    """The sweep file that the first run was given."""
    arguments: list[str] = swept[1].args
    return arguments[arguments.index("run") + 1]
