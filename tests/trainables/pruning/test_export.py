"""An exported student: one folder that plain transformers loads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.ledgers import UNTRAINED, old_quickstart
from helpers.model_cards import run_snippet
from helpers.same_model import same_model
from transformers import AutoProcessor, LlavaForConditionalGeneration

from trainables.common.files import read_json
from trainables.models.dense import load_dense
from trainables.models.families.registry import TINY_FOLDER, check_model
from trainables.models.recovered import apply_recovered, save_recovered
from trainables.pruning.export import export_student
from trainables.pruning.model_card import model_card
from trainables.pruning.planning.planner import PrunePlan, plan_pruning
from trainables.pruning.planning.scores import ImportanceScores, ScoreMetadata
from trainables.pruning.surgery import apply_plan
from trainables.records import (
    RECORD,
    REPORT,
    ClosingReport,
    EvaluationReport,
    Provenance,
    RecoveryReport,
    TaskScore,
    TrialRecord,
)
from trainables.specs import DataSpec, ModelSpec, PruningSpec, Seeds, TrialSpec
from trainables.trial.student import export_trial

pytestmark = pytest.mark.skipif(
    not (TINY_FOLDER / "model.safetensors").exists(), reason="the embedded weights are not built"
)


@pytest.fixture
def dense():
    return load_dense(ModelSpec())


def _plan(dense, method="widthwise", ratio=0.3):
    rng = np.random.default_rng(0)
    shape = dense.shape
    layers = shape.num_hidden_layers
    scores = ImportanceScores(
        ScoreMetadata(method=method),
        block=rng.random(layers, dtype=np.float32),
        heads=rng.random((layers, shape.num_key_value_heads), dtype=np.float32),
        neurons=rng.random((layers, shape.intermediate_size), dtype=np.float32),
    )
    spec = PruningSpec(method=method, ratio=ratio)
    return plan_pruning(scores, shape, spec, dense.weights_digest)


def _scores(split, average, retention):
    return EvaluationReport(
        split=split,
        tasks={"tiny_relation": TaskScore(score=average, stderr=1.5, samples=500)},
        average=average,
        average_se=1.5,
        retention=retention,
        retention_se=0.02,
    )


def _report():
    scores = _scores("report", 71.25, 0.75)
    return ClosingReport(trial_id="t1", evaluation=scores, provenance=Provenance(prunesweep="0"))


def _record(**changes):
    return TrialRecord(
        trial_id="t1",
        sweep="s",
        status="completed",
        origin="designed",
        spec=changes.pop("spec", TrialSpec()),
        seeds=Seeds(),
        recovery=RecoveryReport(
            scope="joint", steps=7, samples=112, loss_terms="ce+l2", learning_rate=2e-4
        ),
        evaluation=_scores("search", 80.5, 0.875),
        provenance=Provenance(prunesweep="0"),
        **changes,
    )


def _recovered(dense, path):
    generator = torch.Generator().manual_seed(0)
    name = f"{dense.adapter.projector}.linear_2.weight"
    projector = dense.model.get_parameter(name) * 1.5
    module = f"{dense.adapter.layers}.0.self_attn.o_proj"
    rows, columns = dense.model.get_parameter(f"{module}.weight").shape
    kept = _plan(dense).kept_counts[0][0] * dense.shape.heads_per_group * dense.shape.head_dim
    assert kept < columns
    lora = {
        f"{module}.lora_A.weight": torch.randn(2, kept, generator=generator),
        f"{module}.lora_B.weight": torch.randn(rows, 2, generator=generator),
    }
    save_recovered(path, {name: projector}, lora, rank=2, alpha=4)
    return path


def _question(dense):
    from PIL import Image

    size = dense.model.config.vision_config.image_size
    image = Image.fromarray(
        np.random.default_rng(1).integers(0, 255, (size, size, 3), dtype=np.uint8)
    )
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "how"}]}]
    text = dense.processor.apply_chat_template(message, add_generation_prompt=True)
    return image, text


@pytest.mark.parametrize(("method", "ratio"), [("widthwise", 0.3), ("layerwise", 0.3)])
def test_loads_with_plain_transformers_and_gives_the_same_logits(
    dense, tmp_path, method, ratio, monkeypatch
):
    plan = _plan(dense, method, ratio)
    recovered = _recovered(dense, tmp_path / "r") if method == "widthwise" else None
    to = export_student(dense, plan, recovered, tmp_path / "out", _record())
    assert to == tmp_path / "out"
    student = apply_plan(dense.model, dense.adapter, plan)
    if recovered is not None:
        apply_recovered(student, recovered)
    loaded = LlavaForConditionalGeneration.from_pretrained(to)
    processor = AutoProcessor.from_pretrained(to)
    image, text = _question(dense)
    inputs = processor(images=image, text=text, return_tensors="pt")
    same_model(loaded, student, inputs)
    settings = {"max_new_tokens": 5, "do_sample": False}
    expected = student.generate(**inputs, **settings)
    assert torch.equal(loaded.generate(**inputs, **settings), expected)
    assert loaded.generation_config.eos_token_id == dense.model.generation_config.eos_token_id
    text_type = json.loads((to / "config.json").read_text())["text_config"]["model_type"]
    assert text_type == {"widthwise": "mistral", "layerwise": "llama"}[method]
    card = (to / "README.md").read_text()
    assert "`LlavaForConditionalGeneration.from_pretrained(folder)`" in card
    assert ("`mistral` config" in card) == (method == "widthwise")
    assert "trust_remote_code" not in card
    assert not list(to.glob("*.py"))
    assert run_snippet(to, monkeypatch).endswith("\n")


def test_folder_is_complete_and_can_enter_a_sweep(dense, tmp_path):
    plan = _plan(dense)
    to = export_student(dense, plan, None, tmp_path / "out")
    assert len(list(to.glob("*.safetensors"))) == 1
    assert read_json(to / "prune_plan.json", PrunePlan) == plan
    assert check_model(ModelSpec(path=str(to))).name == "llava-mistral"
    for path in dense.folder.iterdir():
        if path.name.startswith(("LICENSE", "NOTICE")):
            assert (to / path.name).read_bytes() == path.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # nothing left beside it


def test_half_precision(dense, tmp_path):
    from safetensors.torch import load_file

    before = {p.dtype for p in dense.model.parameters()}
    to = export_student(dense, _plan(dense), None, tmp_path / "out", dtype="bfloat16")
    tensors = load_file(to / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert json.loads((to / "config.json").read_text())["dtype"] == "bfloat16"
    assert {p.dtype for p in dense.model.parameters()} == before


def test_an_empty_folder_is_filled_and_a_full_one_refused(dense, tmp_path):
    (tmp_path / "empty").mkdir()
    export_student(dense, _plan(dense), None, tmp_path / "empty")
    assert (tmp_path / "empty" / "config.json").exists()
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="nothing is overwritten"):
        export_student(dense, _plan(dense), None, full)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]


def test_failures_leave_nothing_behind(dense, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be made"):
        export_student(dense, _plan(dense), None, tmp_path / "file" / "out")
    with pytest.raises(ValueError, match="no readable recovered tensors"):
        export_student(dense, _plan(dense), tmp_path / "none", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_plan_of_other_weights_is_refused(dense, tmp_path):
    plan = _plan(dense).model_copy(update={"weights_digest": "0" * 64})
    with pytest.raises(ValueError, match="plan belongs to weights 000000000000, but the model"):
        export_student(dense, plan, None, tmp_path / "out")


def test_card_tells_ratio_training_scores_and_licences(dense):
    plan = _plan(dense)
    files = ["LICENSE"]
    card = model_card(
        dense.spec, dense.folder, plan, _record(), "float32", files, "It loads.", _report()
    )
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "license: apache-2.0\n" in card
    assert f"Ratio: {plan.ratio:.4f} " in card
    assert "| tiny_relation | 71.2 (68.3 to 74.2) | 500 |" in card
    assert "## Scores (report split, lmms-eval)" in card
    assert "Retention: 0.750 (95 % interval 0.711 to 0.789) of the dense model's average" in card
    assert "0.875" not in card
    assert "search split" not in card
    assert "Scope `joint`, loss ce+l2" in card
    assert "training data: generated by prunesweep (apache-2.0)" in card


def test_card_says_that_only_the_search_split_was_scored(dense):
    card = model_card(dense.spec, dense.folder, _plan(dense), _record(), "float32", [], "It loads.")
    assert "| tiny_relation | 80.5 (77.6 to 83.4) | 500 |" in card
    assert (
        "0.875 (95 % interval 0.836 to 0.914) of the dense model's average, on the search" in card
    )
    assert "was not scored on the report split" in card


def test_an_exported_trial_quotes_what_its_sweep_reports(tmp_path):
    folder = old_quickstart(tmp_path) / "trials" / UNTRAINED
    record = read_json(folder / RECORD, TrialRecord)
    report = read_json(folder / REPORT, ClosingReport)
    to = export_trial(folder, tmp_path / "out")
    card = (to / "README.md").read_text()
    assert f"{report.evaluation.retention:.3f} " in card
    assert f"{record.evaluation.retention:.3f} " not in card
    assert f"average** | {report.evaluation.average:.1f} (" in card
    assert f"- weights: {record.efficiency.weights_mib:,.1f} MiB" in card
    assert f"on {report.latency.device}: {report.latency.median_ms:,.1f} ms (quartiles" in card
    assert read_json(to / "trial_report.json", ClosingReport) == report


def test_card_says_unknown_rather_than_guess(dense, tmp_path):
    spec = ModelSpec(path=str(tmp_path))
    card = model_card(spec, tmp_path, _plan(dense), None, "float32", [], "It loads.")
    assert "license: unknown\n" in card
    assert "training data: unknown" in card
    assert "Unknown: no evaluation was given." in card
    own = TrialSpec(data=DataSpec(conversations="mine.json"))
    card = model_card(spec, tmp_path, _plan(dense), _record(spec=own), "float32", [], "It loads.")
    assert "training data: unknown" in card
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Base")
    assert "license: mit\n" in model_card(
        spec, tmp_path, _plan(dense), None, "float32", [], "It loads."
    )


@pytest.mark.parametrize(
    ("place", "base"),
    [
        ("models--org--some-vlm/snapshots/0123abc", "org/some-vlm"),
        ("models--org--a--b/snapshots/0123abc", "org/a--b"),
        ("mine/some-vlm", "some-vlm"),
    ],
)
def test_the_card_names_the_base_by_its_name_on_the_hub(dense, tmp_path, place, base):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    spec = ModelSpec(path=str(folder))
    card = model_card(spec, folder, _plan(dense), None, "float32", [], "It loads.")
    assert f"# {base}, pruned" in card
    assert f"base_model: {base if '/' in base else '[]'}\n" in card
