"""Parameters, memory and FLOPs against counts by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainables.efficiency.measure import (
    count_parts,
    forward_flops,
    image_flops,
    measure,
    stored_bytes,
)
from trainables.efficiency.prompt import image_inputs, image_tokens, prompt_inputs
from trainables.efficiency.quantize import quantized_efficiency
from trainables.models.families import qwen_vl
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.work import attention_channels, linear_weights
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
    inputs = prompt_inputs(family.model, family.adapter, EfficiencySpec(prompt_tokens=PROMPT))
    counted = forward_flops(family.model, family.adapter, PROMPT)
    family.model.set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        family.model(**inputs, use_cache=False)
    assert counted == counter.get_total_flops()


def test_language_params_of_every_family(family: Any) -> None:
    names = (family.adapter.language_model, family.adapter.lm_head)
    parameters = family.model.named_parameters()
    expected = sum(p.numel() for n, p in parameters if n.startswith(names))
    parts = count_parts(family.model, family.adapter)
    assert parts.language_model + parts.embeddings == expected


def test_parts_of_every_family_add_up(family: Any) -> None:
    """Against the names that each adapter's paths give, where some lie within others."""
    adapter, model = family.adapter, family.model
    sizes = {name: p.numel() for name, p in model.named_parameters()}

    def within(*paths: str) -> int:
        return sum(size for name, size in sizes.items() if name.startswith(paths))

    parts = count_parts(model, adapter)
    embeddings = within(f"{adapter.embed}.", f"{adapter.lm_head}.")
    assert sum(parts.model_dump().values()) == sum(sizes.values())
    assert parts.embeddings == embeddings
    assert parts.language_model == within(f"{adapter.language_model}.") - within(adapter.embed)
    inner = within(adapter.projector) if adapter.projector.startswith(adapter.vision_tower) else 0
    assert parts.vision == within(f"{adapter.vision_tower}.") - inner
    newline = sizes.get("model.image_newline", 0)
    assert parts.projector == within(f"{adapter.projector}.") + newline
    assert parts.embeddings == 64 * 32 * (1 if model.config.tie_word_embeddings else 2) + (
        64 if "lm_head.bias" in sizes else 0
    )


@pytest.mark.parametrize("tied", [False, True])
def test_stored_bytes_are_those_of_a_checkpoint(
    build_model: Callable[..., Any], tied: bool, tmp_path: Path
) -> None:
    model = build_model(tie_word_embeddings=tied).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        held = sum(file.get_tensor(name).nbytes for name in file.keys())
    assert stored_bytes(model) == held
    assert stored_bytes(model, "float32") == 2 * held


def test_quantized_weights_take_what_they_hold(build_model: Callable[..., Any]) -> None:
    """int8 of torchao: a byte per weight, a scale and a zero point per row."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model, plain = build_model(), build_model()
    quantize_(model.model.language_model.layers, Int8WeightOnlyConfig())
    weight = model.model.language_model.layers[0].self_attn.q_proj.weight
    linears = [
        m.weight for m in plain.model.language_model.layers.modules() if isinstance(m, nn.Linear)
    ]
    ints, rows = sum(w.numel() for w in linears), sum(w.shape[0] for w in linears)
    each = sum(t.element_size() for t in (weight.scale, weight.zero_point))
    assert stored_bytes(model) == stored_bytes(plain) - 4 * ints + ints + rows * each
    # The rest is stored in the type that is asked for, the scales are what they are.
    rest = sum(p.numel() for p in plain.parameters()) - ints
    assert stored_bytes(model, "bfloat16") == 2 * rest + ints + rows * each
    report = measure(plain, LLAVA_LLAMA, EfficiencySpec(), "bfloat16")
    got = quantized_efficiency(report, model, "int8_weight_only", "bfloat16")
    assert got.weights_mib == (2 * rest + ints + rows * each) / 2**20
    assert got.memory is not None
    assert got.memory.weights_mib == got.weights_mib
    assert report.memory is not None
    saved = report.weights_mib - got.weights_mib
    assert got.memory.total_mib == pytest.approx(report.memory.total_mib - saved)
    assert got.params == sum(p.numel() for p in plain.parameters())


def test_four_bits_of_bitsandbytes_count_with_their_tables() -> None:
    import bitsandbytes as bnb

    plain = nn.Linear(128, 64, bias=False)
    layer = bnb.nn.Linear4bit(128, 64, bias=False, quant_type="nf4", compress_statistics=False)
    layer.load_state_dict(plain.state_dict())
    model = nn.Sequential(layer.to("cpu"))
    # Half a byte per weight, a float32 per block of 64, the 16 values; the rest is a header.
    expected = 64 * 128 // 2 + 4 * 64 * 128 // 64 + 4 * 16
    assert expected <= stored_bytes(model) <= expected + 256
