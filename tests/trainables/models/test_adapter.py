"""The adapter's table against the torch modules that it describes."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from trainables.models.adapter import LanguageShape, Projection
from trainables.models.llava import LLAMA_DEFAULTS, LLAVA_LLAMA, MISTRAL_DEFAULTS
from trainables.models.registry import MODELS

SMALL = LanguageShape(
    hidden_size=6,
    intermediate_size=5,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=3,
    vocab_size=7,
)


def _lm_numel(model):
    """Parameters of language model and head by torch's own count (tied ones once)."""
    names = (LLAVA_LLAMA.language_model, LLAVA_LLAMA.lm_head)
    return sum(p.numel() for n, p in model.named_parameters() if n.startswith(names))


def test_lm_params_equals_torch_numel(llava):
    shape = LLAVA_LLAMA.language_shape(llava.config.to_dict())
    assert shape.lm_params() == _lm_numel(llava)


def test_layer_params_equals_torch_numel(llava):
    shape = LLAVA_LLAMA.language_shape(llava.config.to_dict())
    layer = llava.get_submodule(f"{LLAVA_LLAMA.layers}.0")
    dense = shape.num_key_value_heads, shape.intermediate_size
    assert shape.layer_params(*dense) == sum(p.numel() for p in layer.parameters())


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.config])
def test_published_facts_give_the_parameters_of_the_real_architecture(name):
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    config = MODELS[name].config
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(LlavaConfig.from_dict(config))
    assert LLAVA_LLAMA.language_shape(config).lm_params() == _lm_numel(model)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # q 12x6, k and v 6x6, o 6x12, three 5x6 in the MLP, two norms of 6
        ({}, 72 + 36 + 36 + 72 + 90 + 12),
        ({"biased": ("q", "k", "v")}, 318 + 12 + 6 + 6),
        ({"biased": ("o", "down")}, 318 + 6 + 6),
        ({"biased": ("gate", "up")}, 318 + 5 + 5),
        ({"gated": False}, 318 - 30),
        # Phi: attention and MLP in parallel on one LayerNorm with a bias
        ({"norms_per_layer": 1, "norm_bias": True}, 318),
        ({"qk_norm": True}, 318 + 6),
    ],
)
def test_layer_params_by_hand(changes, expected):
    assert SMALL.model_copy(update=changes).layer_params(2, 5) == expected


def test_lm_params_by_hand():
    kept = [(1, 5), (2, 3)]  # one group less: 36+18+18+36... -> -(36+18+18+36); -2 neurons: -36
    layers = (318 - 108) + (318 - 36)
    assert SMALL.lm_params(kept) == 2 * 42 + 6 + layers
    assert SMALL.model_copy(update={"tie_word_embeddings": True}).lm_params(kept) == 48 + layers
    assert SMALL.model_copy(update={"lm_head_bias": True}).lm_params(kept) == 90 + 7 + layers


@pytest.mark.parametrize(
    ("parts", "axis", "owners"),
    [
        (("q",), 0, [0] * 6 + [1] * 6),  # two query heads of 3 channels per group
        (("k",), 0, [0] * 3 + [1] * 3),
        (("o",), 1, [0] * 6 + [1] * 6),
        (("down",), 1, [0, 1, 2, 3, 4]),
        (("gate", "up"), 0, [0, 1, 2, 3, 4] * 2),
        (("q", "k", "v"), 0, [0] * 6 + [1] * 6 + [0] * 3 + [1] * 3 + [0] * 3 + [1] * 3),
    ],
)
def test_owners_of_plain_and_fused_projections(parts, axis, owners):
    projection = Projection(path="p", parts=parts)
    assert projection.axis == axis
    np.testing.assert_array_equal(projection.owners(SMALL), owners)


def test_owners_fit_the_weights(llava):
    shape = LLAVA_LLAMA.language_shape(llava.config.to_dict())
    for projection in LLAVA_LLAMA.projections:
        weight = llava.get_parameter(f"{LLAVA_LLAMA.layers}.0.{projection.path}.weight")
        assert len(projection.owners(shape)) == weight.shape[projection.axis]


def test_lora_targets_are_every_linear_of_the_decoder_and_nothing_else(llava):
    pattern = re.compile(LLAVA_LLAMA.lora_target_regex())
    hit = {name for name, _ in llava.named_modules() if pattern.fullmatch(name)}
    linears = {
        name
        for name, module in llava.named_modules()
        if isinstance(module, torch.nn.Linear) and name.startswith(LLAVA_LLAMA.layers)
    }
    assert hit == linears
    assert len(hit) == 7 * 4


def test_defaults_for_absent_keys_are_those_of_transformers():
    from transformers import LlamaConfig, MistralConfig

    for defaults, config in ((LLAMA_DEFAULTS, LlamaConfig()), (MISTRAL_DEFAULTS, MistralConfig())):
        for key, value in defaults.items():
            if value is not None and hasattr(config, key):
                assert getattr(config, key) == value, key
    assert LlamaConfig().num_key_value_heads == LlamaConfig().num_attention_heads


def test_pruned_heads_turn_llama_into_mistral_and_layers_do_not(llava):
    config = llava.config.to_dict()
    groups = LLAVA_LLAMA.language_shape(config).num_key_value_heads
    layers = LLAVA_LLAMA.pruned_config(config, layers=2, kv_groups=groups, neurons=48)
    assert layers["text_config"]["model_type"] == "llama"
    heads = LLAVA_LLAMA.pruned_config(config, layers=4, kv_groups=1, neurons=9)["text_config"]
    assert heads["model_type"] == "mistral"
    assert heads["sliding_window"] is None
    assert (heads["num_attention_heads"], heads["num_key_value_heads"]) == (8 // groups, 1)
    assert (heads["head_dim"], heads["intermediate_size"]) == (4, 9)
    assert "attention_bias" not in heads
    assert config == llava.config.to_dict()  # the input is left alone


def test_pruned_heads_of_a_biased_llama_are_refused(llava):
    config = llava.config.to_dict()
    config["text_config"]["attention_bias"] = True
    with pytest.raises(ValueError, match="biases in q, k, v, o cannot be pruned"):
        LLAVA_LLAMA.pruned_config(config, layers=4, kv_groups=1, neurons=48)


def test_planning_imports_no_torch():
    code = (
        "import sys, trainables.models.registry, trainables.pruning.planner, "
        "trainables.pruning.card; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
