"""Names, configs and the torch-free checks of a checkpoint."""

from __future__ import annotations

import copy
import importlib
import json

import pytest

from trainables.common.weights import weights_digest
from trainables.efficiency.measure import count_parts
from trainables.models.dense import checkpoint_folder
from trainables.models.families.registry import (
    ADAPTERS,
    MODELS,
    adapter_for,
    check_model,
    find_families,
    language_shape,
    model_config,
    model_folder,
)
from trainables.specs import ModelSpec


@pytest.fixture
def folder(make_llava, tmp_path):
    make_llava().save_pretrained(tmp_path)
    return tmp_path


def _spec(folder):
    return ModelSpec(path=str(folder))


def test_known_hub_model_needs_no_download():
    spec = ModelSpec(path="llava-hf/llava-1.5-7b-hf")
    assert model_folder(spec) is None
    shape = language_shape(spec)
    assert (shape.hidden_size, shape.num_hidden_layers, shape.head_dim) == (4096, 32, 128)
    assert shape.lm_params() == 6_738_939_904
    assert check_model(spec).name == "llava-llama"


def test_folder_gives_the_shape_that_was_saved(llava, tmp_path):
    llava.save_pretrained(tmp_path)
    shape = language_shape(_spec(tmp_path))
    assert shape == adapter_for(llava.config.to_dict()).language_shape(llava.config.to_dict())
    assert check_model(_spec(tmp_path)).name == "llava-llama"


def test_unknown_name_suggests_the_nearest_and_lists_the_known():
    with pytest.raises(ValueError, match=r"Did you mean 'tiny'\?.*Known: tiny, smol, llava-hf"):
        model_config(ModelSpec(path="tinny"))


def test_unsupported_architecture_lists_the_supported_and_says_how_to_add_one():
    config = {"model_type": "llava", "text_config": {"model_type": "gpt2"}}
    with pytest.raises(ValueError, match="'gpt2' is not a supported archi") as caught:
        adapter_for(config)
    message = str(caught.value)
    for adapter in ADAPTERS.values():
        assert adapter.model_type in message
        assert adapter.backbone.model_type in message
    assert "llava with llama, mistral, phi;" in message
    assert "To add an architecture, write its table" in message
    with pytest.raises(ValueError, match="model_type='bert' is not"):
        adapter_for({"model_type": "bert"})


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.config])
def test_published_facts_give_the_real_model(name):
    """The model is built without data; `params` does not come from `config`."""
    import torch
    import transformers

    entry = MODELS[name]
    assert entry.config is not None
    adapter = adapter_for(entry.config)
    kind = getattr(transformers, adapter.model_class)
    with torch.device("meta"):
        model = kind(kind.config_class.from_dict(copy.deepcopy(entry.config)))
    shape = language_shape(ModelSpec(path=name))
    parts = count_parts(model, adapter)
    assert shape.lm_params() == parts.language_model + parts.embeddings
    assert shape == adapter.language_shape(model.config.to_dict())
    assert entry.params in (None, sum(p.numel() for p in model.parameters()))
    token = adapter.image_token_id(entry.config)
    assert token == model.config.image_token_id < shape.vocab_size


def test_every_hub_model_has_facts_and_a_config():
    hub = {name: entry for name, entry in MODELS.items() if entry.folder is None}
    assert len(hub) == 18  # and smol, whose folder is not there at first
    assert all(entry.config and entry.summary for entry in hub.values())


FAMILY = """
from trainables.models.families.llava import ADAPTERS as LLAVA
from dataclasses import replace
ADAPTERS = tuple(replace(a, name=f"{a.name}-{__name__.rpartition('.')[2]}") for a in LLAVA)
"""


def test_a_family_is_one_module_and_its_models_stand_beside_it(tmp_path, monkeypatch):
    package = tmp_path / "some_families"
    package.mkdir()
    for name in ("__init__", "no_family"):
        (package / f"{name}.py").write_text("")
    for name in ("alpha", "beta", "gamma"):
        (package / f"{name}.py").write_text(FAMILY)
    facts = "models: {{hub/{0}: {{summary: of {0}, config: {{model_type: llava}}{1}}}}}"
    (package / "alpha.yaml").write_text(facts.format("alpha", ""))
    (package / "gamma.yaml").write_text("rank: 1\n" + facts.format("gamma", ", licence: mit"))
    monkeypatch.syspath_prepend(tmp_path)
    adapters, models = find_families("some_families", package)
    assert list(adapters) == [
        f"llava-{text}-{module}"
        for module in ("gamma", "alpha", "beta")  # those without a rank come last, by name
        for text in ("llama", "mistral", "phi")
    ]
    assert list(models) == ["hub/gamma", "hub/alpha"]
    assert (models["hub/gamma"].licence, models["hub/alpha"].licence) == ("mit", "unknown")
    (package / "delta.py").write_text(FAMILY)
    (package / "delta.yaml").write_text(facts.format("alpha", ""))
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match=r"'hub/alpha' is defined by both .*alpha and .*delta"):
        find_families("some_families", package)


def test_a_model_in_its_authors_layout_is_not_downloaded():
    with pytest.raises(ValueError, match=r"own layout; download it, run `prunesweep convert"):
        checkpoint_folder(ModelSpec(path="BAAI/Bunny-v1_0-3B"))


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "has no config.json"), ("{", "cannot be read as JSON"), ("[]", "must hold a JSON ob")],
)
def test_bad_config(folder, text, message):
    path = folder / "config.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        check_model(_spec(folder))


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-5])


def _scribble(path):
    path.write_bytes(b"\xff" * 64 + path.read_bytes()[64:])


def _empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "truncated or damaged"),
        (_scribble, "not a readable safetensors file"),
        (_empty, "not a readable safetensors file"),
        (lambda path: path.unlink(), "has no model.safetensors"),
    ],
)
def test_damaged_weights(folder, damage, message):
    damage(folder / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        check_model(_spec(folder))


def test_pickled_weights_are_named_as_the_reason(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pickled weights are not read"):
        check_model(_spec(folder))


def test_missing_shard(make_llava, tmp_path):
    make_llava().save_pretrained(tmp_path, max_shard_size="60KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    check_model(_spec(tmp_path))
    shards[1].unlink()
    with pytest.raises(ValueError, match=f"lacks {shards[1].name}"):
        check_model(_spec(tmp_path))


def test_digest_follows_the_content(folder, make_llava):
    before = weights_digest(folder)
    assert before == weights_digest(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config))
    assert weights_digest(folder) == before
    make_llava(seed=7).save_pretrained(folder)
    assert weights_digest(folder) != before
