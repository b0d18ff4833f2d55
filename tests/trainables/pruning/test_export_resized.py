"""An exported student that no stock config can express: its folder brings its modelling file."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from helpers.model_cards import run_snippet
from helpers.same_model import close, equal_weights
from transformers import AutoModelForImageTextToText, AutoProcessor

from trainables.models.dense import load_dense
from trainables.models.families.registry import TINY_FOLDER, check_model
from trainables.models.recovered import apply_recovered, save_recovered
from trainables.pruning.export import export_student
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.surgery import apply_plan
from trainables.specs import ModelSpec, PruningSpec

pytestmark = pytest.mark.skipif(
    not (TINY_FOLDER / "model.safetensors").exists(), reason="the embedded weights are not built"
)

# Somebody with transformers and without prunesweep.
STRANGER = """
import sys
sys.modules["trainables"] = sys.modules["sweeps"] = None
import torch
from transformers import AutoModelForImageTextToText
folder, inputs, out = sys.argv[1:]
torch.set_num_threads(1)
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
inputs = torch.load(inputs)
with torch.no_grad():
    tokens = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    torch.save((model(**inputs).logits, tokens), out)
"""


@pytest.fixture(autouse=True)
def own_module_cache(tmp_path, monkeypatch):
    """Remote code is copied before it runs; not into the user's cache."""
    for module in (transformers.dynamic_module_utils, transformers.utils.hub):
        monkeypatch.setattr(module, "HF_MODULES_CACHE", str(tmp_path / "modules"), raising=False)


def _question(dense):
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 255, (36, 36, 3), dtype=np.uint8)
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "how"}]}]
    text = dense.processor.apply_chat_template(message, add_generation_prompt=True)
    image = Image.fromarray(pixels)
    return dict(dense.processor(images=image, text=text, return_tensors="pt"))


def _recovered(dense, plan, path):
    """A trained projector, and LoRA of the `o` of two layers that keep unlike numbers of heads."""
    generator = torch.Generator().manual_seed(0)
    name = f"{dense.adapter.projector}.linear_2.weight"
    groups = [groups for groups, _ in plan.kept_counts]
    width = dense.shape.heads_per_group * dense.shape.head_dim
    lora = {}
    for layer in (groups.index(min(groups)), groups.index(max(groups))):
        module = f"{dense.adapter.layers}.{layer}.self_attn.o_proj"
        low, high = (2, groups[layer] * width), (dense.shape.hidden_size, 2)
        lora[f"{module}.lora_A.weight"] = torch.randn(low, generator=generator)
        lora[f"{module}.lora_B.weight"] = torch.randn(high, generator=generator)
    save_recovered(path, {name: dense.model.get_parameter(name) * 1.5}, lora, rank=2, alpha=4)
    return path


def _plan(dense, random_scores, **spec):
    spec = PruningSpec(method="widthwise", ratio=0.3, units="all", **spec)
    return plan_pruning(random_scores(dense.shape), dense.shape, spec)


@pytest.fixture(params=["per-layer widths", "fewer heads than a config can say"])
def resized(request, families, random_scores, tmp_path):
    """Dense model, a plan that no stock config can express, recovered tensors, inputs."""
    dense = load_dense(ModelSpec())
    if request.param == "per-layer widths":
        plan = _plan(dense, random_scores, ranking="global")
        assert len({groups for groups, _ in plan.kept_counts}) > 1
        assert len({neurons for _, neurons in plan.kept_counts}) > 1
        return dense, plan, _recovered(dense, plan, tmp_path / "r"), _question(dense)
    family = families["qwen2-vl"](samples=1)
    shape = family.adapter.language_shape(family.config)
    # The processor only goes along: another family's will do.
    dense = replace(dense, model=family.model, adapter=family.adapter, shape=shape)
    plan = _plan(dense, random_scores)
    assert plan.uniform
    assert plan.kept_counts[0][0] < shape.num_key_value_heads
    return dense, plan, None, {k: v for k, v in family.batch.items() if k != "labels"}


def _answers(model, inputs):
    return model(**inputs).logits, model.generate(**inputs, max_new_tokens=5, do_sample=False)


def _expected(dense, plan, recovered, inputs):
    student = apply_plan(dense.model, dense.adapter, plan)
    if recovered is not None:
        apply_recovered(student, recovered)
    return _answers(student, inputs)


def test_a_resized_student_loads_with_its_own_code_and_with_ours(resized, tmp_path, monkeypatch):
    dense, plan, recovered, inputs = resized
    to = export_student(dense, plan, recovered, tmp_path / "out")
    logits, tokens = _expected(*resized)
    assert check_model(ModelSpec(path=str(to))) is dense.adapter
    plain = AutoProcessor.from_pretrained  # one case goes with another family's processor
    monkeypatch.setattr("trainables.models.dense.load_processor", lambda folder, *_: plain(folder))
    ours = load_dense(ModelSpec(path=str(to)))
    theirs = AutoModelForImageTextToText.from_pretrained(to, trust_remote_code=True)
    AutoProcessor.from_pretrained(to)
    equal_weights(ours.model, theirs)
    for model in (ours.model, theirs):
        assert not model.training
        assert model.generation_config.eos_token_id == dense.model.generation_config.eos_token_id
        found = _answers(model, inputs)
        close(found[0], logits)
        assert torch.equal(found[1], tokens)
    eager = AutoModelForImageTextToText.from_pretrained(
        to, trust_remote_code=True, attn_implementation="eager", dtype="bfloat16"
    )
    attention = eager.get_submodule(f"{dense.adapter.layers}.0.self_attn")
    assert attention.config._attn_implementation == "eager"
    assert {parameter.dtype for parameter in eager.parameters()} == {torch.bfloat16}
    assert [path.name for path in to.glob("*.py")] == ["modeling_resized.py"]
    card = (to / "README.md").read_text()
    how = "`AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)`"
    assert how in card
    assert "plain transformers" not in card
    if recovered is not None:  # else the processor is another family's
        assert run_snippet(to, monkeypatch).endswith("\n")


def test_a_resized_student_is_refused_by_whoever_does_not_run_its_code(resized, tmp_path):
    dense, plan, recovered, _ = resized
    to = export_student(dense, plan, recovered, tmp_path / "out")
    for given in ({}, {"trust_remote_code": False}):  # not given: it asks, and nobody answers
        with pytest.raises(ValueError, match="trust_remote_code=True"):
            AutoModelForImageTextToText.from_pretrained(to, **given)
    stock = getattr(transformers, dense.adapter.model_class)
    for given in ({}, {"trust_remote_code": True}, {"ignore_mismatched_sizes": True}):
        with pytest.raises(Exception, match=r"layers.*differ in width.*trust_remote_code=True"):
            stock.from_pretrained(to, **given)


@pytest.mark.slow
@pytest.mark.parametrize("resized", ["per-layer widths"], indirect=True)
def test_a_resized_student_loads_where_prunesweep_is_not(resized, tmp_path):
    dense, plan, recovered, inputs = resized
    to = export_student(dense, plan, recovered, tmp_path / "out")
    torch.save(inputs, tmp_path / "inputs.pt")
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, to, tmp_path / "inputs.pt", tmp_path / "found.pt"],
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    logits, tokens = _expected(*resized)
    found = torch.load(tmp_path / "found.pt")
    close(found[0], logits)
    assert torch.equal(found[1], tokens)
