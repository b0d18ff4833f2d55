"""Parameters, memory and FLOPs against counts by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trainables.evaluation.efficiency import forward_flops, image_flops, image_tokens, measure
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
    assert image_tokens(model) == IMAGE_TOKENS
    assert image_flops(model, LLAVA_LLAMA) == (expected["vision"], expected["projector"])
    assert forward_flops(model, PROMPT) == sum(expected.values())


def test_flops_of_layers_with_different_widths(build_model: Callable[..., Any]) -> None:
    model = build_model()
    mlp = model.model.language_model.layers[0].mlp
    mlp.gate_proj, mlp.up_proj = nn.Linear(48, 30, bias=False), nn.Linear(48, 30, bias=False)
    mlp.down_proj = nn.Linear(30, 48, bias=False)
    expected = by_hand(model)
    assert expected["language"] < by_hand(build_model())["language"]
    assert forward_flops(model, PROMPT) == sum(expected.values())


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
    expected = forward_flops(model, PROMPT)
    assert forward_flops(model.to(torch.bfloat16), PROMPT) == expected
