"""Parameters, memory and FLOPs against counts by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainables.evaluation.efficiency import (
    forward_flops,
    image_flops,
    image_inputs,
    image_tokens,
    language_params,
    measure,
)
from trainables.evaluation.flops import attention_channels, linear_weights
from trainables.evaluation.latency import latency_inputs
from trainables.models import qwen_vl
from trainables.models.llava import LLAVA_LLAMA
from trainables.specs import EfficiencySpec

PROMPT = 11
IMAGE_TOKENS = 9  # 24 pixels in patches of 8


def by_hand(model: Any) -> dict[str, int]:
    """FLOPs of one image and PROMPT text tokens: linears, convolutions, attention products."""
    tokens = IMAGE_TOKENS + PROMPT
    flops = {"vision": 0, "projector": 0, "language": 0}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            flops["vision"] += 2 * IMAGE_TOKENS * module.weight.numel()
        elif isinstance(module, nn.Linear):
            if "vision_tower" in name:
                flops["vision"] += 2 * (IMAGE_TOKENS + 1) * module.weight.numel()  # + class token
            elif "projector" in name:
                flops["projector"] += 2 * IMAGE_TOKENS * module.weight.numel()
            else:
                flops["language"] += 2 * tokens * module.weight.numel()
            if name.endswith("q_proj"):
                # q k^T and the weighted sum of v, 2 FLOPs each per pair of tokens and channel.
                part, n = ("vision", IMAGE_TOKENS + 1) if "vision" in name else ("language", tokens)
                flops[part] += 4 * n * n * module.out_features
    return flops


def test_flops_equal_a_count_by_hand(model: Any) -> None:
    expected = by_hand(model)
    assert image_tokens(model, LLAVA_LLAMA) == IMAGE_TOKENS
    assert image_flops(model, LLAVA_LLAMA) == (expected["vision"], expected["projector"])
    assert forward_flops(model, LLAVA_LLAMA, PROMPT) == sum(expected.values())


def test_flops_of_layers_with_different_widths(build_model: Callable[..., Any]) -> None:
    model = build_model()
    mlp = model.model.language_model.layers[0].mlp
    mlp.gate_proj, mlp.up_proj = nn.Linear(48, 30, bias=False), nn.Linear(48, 30, bias=False)
    mlp.down_proj = nn.Linear(30, 48, bias=False)
    expected = by_hand(model)
    assert expected["language"] < by_hand(build_model())["language"]
    assert forward_flops(model, LLAVA_LLAMA, PROMPT) == sum(expected.values())


def test_measuring_leaves_the_model_alone(model: Any) -> None:
    before = {name: (p.data_ptr(), p.device.type) for name, p in model.named_parameters()}
    attention = model.config._attn_implementation, model.config.text_config._attn_implementation
    measure(model, LLAVA_LLAMA, EfficiencySpec(), "float32")
    assert {n: (p.data_ptr(), p.device.type) for n, p in model.named_parameters()} == before
    now = model.config._attn_implementation, model.config.text_config._attn_implementation
    assert now == attention
    assert "eager" not in attention


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_and_memory(build_model: Callable[..., Any], tied: bool) -> None:
    model = build_model(tie_word_embeddings=tied)
    got = measure(model, LLAVA_LLAMA, EfficiencySpec(prompt_tokens=PROMPT), "bfloat16")
    unique = {p.data_ptr(): p.numel() for p in model.parameters()}
    assert got.params == sum(unique.values())
    assert got.weights_mib == got.params * 2 / 2**20
    assert got.lm_params == LLAVA_LLAMA.language_shape(model.config.to_dict()).lm_params()
    assert got.tflops == pytest.approx(sum(by_hand(model).values()) / 1e12)
    wide = measure(model, LLAVA_LLAMA, EfficiencySpec(prompt_tokens=PROMPT), "float32")
    assert wide.weights_mib == 2 * got.weights_mib


def test_a_bfloat16_model_is_measured_too(build_model: Callable[..., Any]) -> None:
    model = build_model()
    expected = forward_flops(model, LLAVA_LLAMA, PROMPT)
    assert forward_flops(model.to(torch.bfloat16), LLAVA_LLAMA, PROMPT) == expected


@pytest.fixture
def small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny Qwen towers have small patches, of which a usual image has too many to compute."""
    monkeypatch.setattr(qwen_vl, "PIXELS", 24)


@pytest.mark.usefixtures("small_images")
def test_flops_of_an_image_are_those_of_a_real_pass(family: Any) -> None:
    counted = sum(image_flops(family.model, family.adapter))
    family.model.set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features = family.model.get_image_features(
            **image_inputs(family.model, family.adapter), return_dict=True
        ).pooler_output
    assert counted == counter.get_total_flops() > 0
    assert image_tokens(family.model, family.adapter) == sum(len(f) for f in features)


@pytest.mark.usefixtures("small_images")
def test_flops_of_the_language_model_follow_from_its_shape(family: Any) -> None:
    shape = family.adapter.language_shape(family.config)
    tokens = image_tokens(family.model, family.adapter) + PROMPT
    language = 2 * linear_weights(shape) * tokens + 4 * attention_channels(shape) * tokens**2
    whole = forward_flops(family.model, family.adapter, PROMPT)
    assert whole == language + sum(image_flops(family.model, family.adapter))


@pytest.mark.usefixtures("small_images")
def test_flops_are_those_of_a_real_pass_with_its_inputs(family: Any) -> None:
    inputs = latency_inputs(family.model, family.adapter, EfficiencySpec(prompt_tokens=PROMPT))
    counted = forward_flops(family.model, family.adapter, PROMPT)
    family.model.set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        family.model(**inputs, use_cache=False)
    assert counted == counter.get_total_flops()


def test_language_params_of_every_family(family: Any) -> None:
    names = (family.adapter.language_model, family.adapter.lm_head)
    parameters = family.model.named_parameters()
    expected = sum(p.numel() for n, p in parameters if n.startswith(names))
    assert language_params(family.model, family.adapter) == expected
