"""The adapters' tables against the torch modules and config classes that they describe."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.same_model import same_model
from torch import nn
from transformers import CONFIG_MAPPING

from trainables.models.families import backbones, idefics3, internvl, llava, llava_next, qwen_vl
from trainables.models.families.adapter import VLMAdapter
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.families.registry import ADAPTERS, adapter_for

BACKBONES = [b for b in vars(backbones).values() if isinstance(b, backbones.TextBackbone)]


def test_config_leads_to_its_family(family: Any) -> None:
    assert adapter_for(family.config) is family.adapter
    assert family.adapter is ADAPTERS[family.name]
    assert family.adapter.name == family.name
    assert type(family.model).__name__ == family.adapter.model_class


def test_paths_lead_to_the_parts(family: Any) -> None:
    adapter, model = family.adapter, family.model
    layers = model.get_submodule(adapter.layers)
    assert len(layers) == family.config["text_config"]["num_hidden_layers"]
    assert model.get_submodule(adapter.embed) is model.get_input_embeddings()
    assert model.get_submodule(adapter.lm_head) is model.get_output_embeddings()
    norms = [f"{adapter.layers}.0.{name}" for name in adapter.backbone.layer_norms]
    for path in (adapter.final_norm, *norms):
        assert model.get_submodule(path).weight.shape == (32,)
    assert model.get_submodule(adapter.vision_tower) is not None
    projector = model.get_submodule(adapter.projector)
    assert [m for m in projector.modules() if isinstance(m, nn.Linear)][-1].out_features == 32


def test_projections_and_lora_targets_are_every_linear_of_the_decoder(family: Any) -> None:
    adapter = family.adapter
    linears = {
        name
        for name, module in family.model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(adapter.layers)
    }
    assert linears == {
        f"{adapter.layers}.{i}.{p.path}" for i in range(4) for p in adapter.projections
    }
    pattern = re.compile(adapter.lora_target_regex())
    assert {name for name, _ in family.model.named_modules() if pattern.fullmatch(name)} == linears


def test_image_tokens_of_the_batch_are_found(family: Any) -> None:
    token = family.adapter.image_token_id(family.config)
    assert token == family.model.config.image_token_id
    features = family.model.get_image_features(
        **{k: v for k, v in family.batch.items() if k in _image_arguments(family.batch)},
        return_dict=True,
    ).pooler_output
    count = sum(len(f) for f in features)
    assert int((family.batch["input_ids"] == token).sum()) == count


def _image_arguments(batch: dict[str, Any]) -> set[str]:
    return set(batch) - {"input_ids", "attention_mask", "labels", "mm_token_type_ids"}


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda b: b.model_type)
def test_defaults_for_absent_keys_are_those_of_transformers(backbone: Any) -> None:
    config = CONFIG_MAPPING[backbone.model_type]()
    stated = {key: value for key, value in backbone.defaults.items() if value is not None}
    assert {key: getattr(config, key) for key in stated} == stated
    absent = backbone.shape({}, tied=False)
    given = backbone.shape(config.to_dict(), tied=False)
    assert absent == given


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=lambda a: a.name)
def test_defaults_of_the_whole_config_are_those_of_transformers(adapter: VLMAdapter) -> None:
    config = CONFIG_MAPPING[adapter.model_type]()
    key, default = adapter.image_token
    assert getattr(config, key) == default
    assert config.tie_word_embeddings == adapter.tied
    assert adapter.natural_image({}) == adapter.natural_image(config.to_dict())
    assert adapter.anchored({}) == adapter.anchored(config.to_dict())


@pytest.mark.parametrize(
    ("kind", "defaults"),
    [
        *llava.VISION_DEFAULTS.items(),
        ("internvl_vision", internvl.VISION_DEFAULTS),
        ("idefics3_vision", idefics3.VISION_DEFAULTS),
        ("smolvlm_vision", idefics3.VISION_DEFAULTS),
        ("qwen2_vl_vision", qwen_vl.QWEN2_VISION_DEFAULTS),
        ("qwen2_5_vl_vision", qwen_vl.QWEN2_VISION_DEFAULTS),
        ("qwen3_vl_vision", qwen_vl.QWEN3_VISION_DEFAULTS),
    ],
)
def test_defaults_of_vision_towers_are_those_of_transformers(
    kind: str, defaults: dict[str, Any]
) -> None:
    config = CONFIG_MAPPING[kind]()
    assert {key: getattr(config, key) for key in defaults} == defaults


def test_default_resolutions_of_llava_next() -> None:
    pinpoints = CONFIG_MAPPING["llava_next"]().image_grid_pinpoints
    assert tuple(map(tuple, pinpoints)) == llava_next.PINPOINTS


def test_old_flat_configs_read_like_nested_ones(families: Any) -> None:
    for name in ("qwen2-vl", "qwen2.5-vl"):
        nested = families[name]().config
        text = {k: v for k, v in nested["text_config"].items() if k != "model_type"}
        flat = {**text, **{k: v for k, v in nested.items() if k != "text_config"}}
        adapter = adapter_for(flat)
        assert adapter.language_shape(flat) == adapter.language_shape(nested)
        pruned = adapter.pruned_config(flat, layers=(0, 2), kv_groups=2, neurons=7)
        assert "text_config" not in pruned
        assert adapter.language_shape(pruned) == adapter.language_shape(
            adapter.pruned_config(nested, layers=(0, 2), kv_groups=2, neurons=7)
        )


@pytest.mark.parametrize("top", [True, False])
@pytest.mark.parametrize("text", [True, False])
def test_ties_where_transformers_ties(families: Any, top: bool, text: bool) -> None:
    for name, build in families.items():
        config = build().config
        config["tie_word_embeddings"] = top
        config["text_config"]["tie_word_embeddings"] = text
        kind = CONFIG_MAPPING[config["model_type"]]
        shape = ADAPTERS[name].language_shape(config)
        assert shape.tie_word_embeddings == kind.from_dict(config).tie_word_embeddings, name


def test_planning_imports_no_torch() -> None:
    code = (
        "import sys, trainables.models.families.registry, trainables.pruning.planning.planner, "
        "trainables.pruning.model_card; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _pruned(family: Any, **kept: Any) -> Any:
    """A random model of the stock class with the pruned config."""
    plain = family.adapter.pruned_config(family.config, **kept)
    with torch.random.fork_rng():
        return type(family.model)(type(family.model.config).from_dict(plain)).eval()


def _reloads(model: Any, folder: Path, batch: dict[str, Any]) -> Any:
    model.save_pretrained(folder)
    again, info = type(model).from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    same_model(again, model, batch)
    return again


def _check_size(family: Any, model: Any, layers: int, groups: int, neurons: int) -> None:
    shape = family.adapter.language_shape(family.config)
    names = (family.adapter.language_model, family.adapter.lm_head)
    numel = sum(p.numel() for n, p in model.named_parameters() if n.startswith(names))
    assert numel == shape.lm_params([(groups, neurons)] * layers)


def test_fewer_layers_load_with_plain_from_pretrained(family: Any, tmp_path: Path) -> None:
    before = family.model.config.to_dict()
    shape = family.adapter.language_shape(family.config)
    dense = shape.num_key_value_heads, shape.intermediate_size
    model = _pruned(family, layers=(0, 3), kv_groups=dense[0], neurons=dense[1])
    assert family.config == before  # the input is left alone
    again = _reloads(model, tmp_path, family.batch)
    assert again.config.text_config.model_type == family.config["text_config"]["model_type"]
    assert again.config.text_config.num_hidden_layers == 2
    assert len(again.get_submodule(family.adapter.layers)) == 2
    _check_size(family, again, 2, *dense)


def test_fewer_neurons_load_with_plain_from_pretrained(family: Any, tmp_path: Path) -> None:
    groups = family.adapter.language_shape(family.config).num_key_value_heads
    model = _pruned(family, layers=range(4), kv_groups=groups, neurons=37)
    again = _reloads(model, tmp_path, family.batch)
    assert again.config.text_config.intermediate_size == 37
    _check_size(family, again, 4, groups, 37)


def test_fewer_heads_load_with_plain_from_pretrained_or_are_refused(
    family: Any, tmp_path: Path
) -> None:
    shape = family.adapter.language_shape(family.config)
    groups = shape.num_key_value_heads - 1
    if shape.fixed_heads:
        assert family.name in ("qwen2-vl", "qwen2.5-vl", "internvl-phi3")
        with pytest.raises(ValueError, match=f"{family.name}: {groups} of .* because"):
            _pruned(family, layers=range(4), kv_groups=groups, neurons=37)
        return
    again = _reloads(
        _pruned(family, layers=range(4), kv_groups=groups, neurons=37), tmp_path, family.batch
    )
    text = again.config.text_config
    assert text.num_key_value_heads == groups
    assert text.num_attention_heads == groups * shape.heads_per_group
    assert text.head_dim == shape.head_dim
    _check_size(family, again, 4, groups, 37)
    adapter = adapter_for(again.config.to_dict())
    assert adapter.backbone.projections == family.adapter.backbone.projections
    before = family.config["text_config"]["model_type"]
    assert text.model_type == ("mistral" if before == "llama" else before)
    if before == "llama":
        assert text.sliding_window is None
        assert "attention_bias" not in text.to_dict()


@pytest.mark.parametrize("name", ["qwen2-vl", "qwen2.5-vl"])
def test_transformers_gives_qwen2_vl_wider_heads_instead_of_fewer(families: Any, name: str) -> None:
    config = families[name]().config
    config["text_config"] |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    kind = getattr(transformers, ADAPTERS[name].model_class)
    model = kind(kind.config_class.from_dict(config))
    assert model.model.language_model.layers[0].self_attn.q_proj.out_features == 32  # not 2 * 8


def test_transformers_refuses_fewer_heads_of_a_phi3_with_long_rope(families: Any) -> None:
    config = families["internvl-phi3"]().config
    config["text_config"] |= {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 4}
    with pytest.raises(Exception, match="short_factor field must have length"):
        transformers.InternVLConfig.from_dict(config)


def test_heads_of_a_biased_llama_are_refused(families: Any) -> None:
    biased = families["llava-llama"](text={"attention_bias": True, "mlp_bias": True})
    shape = LLAVA_LLAMA.language_shape(biased.config)
    assert shape.fixed_heads
    assert shape.biased == ("q", "k", "v", "o", "gate", "up", "down")
    with pytest.raises(ValueError, match="its linears have biases"):
        LLAVA_LLAMA.pruned_config(biased.config, layers=range(4), kv_groups=1, neurons=48)


def test_phi3_without_long_rope_loses_heads(families: Any, tmp_path: Path) -> None:
    short = families["internvl-phi3"](text={"rope_parameters": {"rope_type": "default"}})
    assert not short.adapter.language_shape(short.config).fixed_heads
    model = _pruned(short, layers=range(4), kv_groups=3, neurons=20)
    _check_size(short, _reloads(model, tmp_path, short.batch), 4, 3, 20)


def test_lists_by_layer_keep_the_kept_layers(families: Any) -> None:
    text = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}
    family = families["internvl-qwen2"](text=text)
    full, sliding = "full_attention", "sliding_attention"
    assert family.config["text_config"]["layer_types"] == [full, full, sliding, sliding]
    model = _pruned(family, layers=(1, 2, 3), kv_groups=4, neurons=48)
    assert model.config.text_config.layer_types == [full, sliding, sliding]
    assert model.config.text_config.max_window_layers == 1
    del family.config["text_config"]["layer_types"]  # then they follow from the other keys
    model = _pruned(family, layers=(1, 2, 3), kv_groups=4, neurons=48)
    assert model.config.text_config.layer_types == [full, sliding, sliding]


def test_layers_that_take_deepstack_features_stay(families: Any) -> None:
    family = families["qwen3-vl"]()
    assert family.adapter.language_shape(family.config).anchored_layers == 1
    kept = {"kv_groups": 2, "neurons": 48}
    with pytest.raises(ValueError, match=r"first 1 layers cannot be removed.*keep layers \[0\]"):
        family.adapter.pruned_config(family.config, layers=(1, 2, 3), **kept)
    pruned = family.adapter.pruned_config(family.config, layers=(0, 2), **kept)
    assert pruned["vision_config"]["deepstack_visual_indexes"] == [0]
