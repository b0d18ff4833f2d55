"""Loading a dense model, and what is said when it cannot be loaded."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.same_model import same_model
from safetensors.torch import load_file, save_file

from trainables.models import dense as module
from trainables.models.dense import load_dense
from trainables.models.families.registry import TINY_FOLDER
from trainables.specs import ModelSpec

pytestmark = pytest.mark.skipif(
    not (TINY_FOLDER / "model.safetensors").exists(), reason="the embedded weights are not built"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the embedded model, which is not kept in memory after the test."""
    monkeypatch.setattr(module, "_loaded", {})
    for path in TINY_FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_embedded_model_loads_in_eval_mode_without_gradients():
    dense = load_dense(ModelSpec())
    assert not dense.model.training
    assert not any(p.requires_grad for p in dense.model.parameters())
    names = (dense.adapter.language_model, dense.adapter.lm_head)
    numel = sum(p.numel() for n, p in dense.model.named_parameters() if n.startswith(names))
    assert dense.shape.lm_params() == numel
    assert dense.shape.num_hidden_layers >= 12
    assert dense.shape.num_attention_heads >= 8
    if not torch.cuda.is_available():
        assert {p.dtype for p in dense.model.parameters()} == {torch.float32}


def test_one_model_is_kept_and_changed_weights_are_loaded_anew(folder):
    spec = ModelSpec(path=str(folder))
    first = load_dense(spec)
    assert load_dense(spec) is first
    tensors = load_file(folder / "model.safetensors")
    name = next(iter(tensors))
    tensors[name] = tensors[name] + 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    second = load_dense(spec)
    assert second is not first
    assert second.weights_digest != first.weights_digest


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja"])
def test_what_else_decides_its_results_is_loaded_anew(folder, name):
    first = load_dense(ModelSpec(path=str(folder)))
    path = folder / name
    path.write_text(path.read_text().replace("1000.0", "100.0").replace("ASSISTANT", "MODEL"))
    second = load_dense(ModelSpec(path=str(folder)))
    assert second is not first
    assert second.weights_digest == first.weights_digest


def test_missing_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    gone = next(name for name in tensors if "q_proj" in name and "language_model" in name)
    del tensors[gone]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"; missing: \S+layers.0.self_attn.q_proj.weight\. "):
        load_dense(ModelSpec(path=str(folder)))


def test_strange_tensors_are_named_and_old_buffers_are_not(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.vision_tower.embeddings.position_ids"] = torch.arange(3)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    load_dense(ModelSpec(path=str(folder)))
    tensors |= {name: torch.zeros(2) for name in ("other.weight", "another.bias")}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"not in the config's model: another.bias, other.weight"):
        load_dense(ModelSpec(path=str(folder)))


def test_config_of_another_size(folder):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"of another shape: .*gate_proj.*\(needed: ") as error:
        load_dense(ModelSpec(path=str(folder)))
    assert str(error.value).count("needed") == 3 * config["text_config"]["num_hidden_layers"]


def test_missing_processor(folder):
    for path in folder.iterdir():
        if path.name.startswith(("processor", "preprocessor", "tokenizer")):
            path.unlink()
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_dense(ModelSpec(path=str(folder)))


def test_a_gpu_that_is_too_small_is_refused_before_anything_is_loaded(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (500, 1000))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Toy GPU")
    with pytest.raises(ValueError, match="Toy GPU has"):
        load_dense(ModelSpec(path=str(folder)))


def test_a_spread_model_answers_like_one_that_is_not(folder):
    """On the one device of this machine: what is checked is the path through `device_map`."""
    spec = ModelSpec(path=str(folder))
    ids = torch.tensor([[1, 5, 9, 7]])
    whole = load_dense(spec)
    spread = load_dense(spec, spread=True)
    same_model(spread.model, whole.model, {"input_ids": ids})
    assert not any(p.requires_grad for p in spread.model.parameters())
    assert load_dense(spec) is not spread
