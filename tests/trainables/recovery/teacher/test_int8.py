"""Int8 weights: within the stated bound of the float ones, in half of the memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trainables.recovery.teacher.int8 import Int8Linear, quantize_int8


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_stay_within_the_bound(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 48, bias=bias)
    with torch.no_grad():
        linear.weight[3] *= 100.0  # an outlier row costs the others nothing
        linear.weight[5] = 0.0
    x = torch.randn(7, 5, 64)
    quantized = Int8Linear(linear)
    error = (quantized(x) - linear(x)).detach().abs()
    bound = linear.weight.detach().abs().amax(1) / 254 * x.abs().sum(-1, keepdim=True)
    assert bool((error <= bound * (1 + 1e-4) + 1e-6).all())
    assert float((error / (bound + 1e-9)).max()) > 0.05  # the bound is no empty word
    assert quantized.weight.dtype == torch.int8
    assert int(quantized.weight.abs().max()) == 127


def test_weights_that_are_multiples_of_the_scale_are_exact() -> None:
    linear = nn.Linear(255, 1, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.arange(-127, 128)[None] * 0.25)
    quantized = Int8Linear(linear)
    assert torch.equal(quantized.weight[0], torch.arange(-127, 128, dtype=torch.int8))
    assert torch.equal(quantized(torch.eye(255)), linear(torch.eye(255)))


def logits(family: Any, model: Any) -> torch.Tensor:
    inputs = {name: value for name, value in family.batch.items() if name != "labels"}
    present = family.batch["attention_mask"].bool()
    with torch.no_grad():
        whole: torch.Tensor = model(**inputs).logits
    return whole[present]


def test_a_quantized_model_says_nearly_the_same(family: Any) -> None:
    dense = logits(family, family.model)
    quantized = quantize_int8(family.model, family.adapter)
    error = (logits(family, quantized) - dense).norm() / dense.norm()
    assert 0 < float(error) < 0.05
    assert torch.equal(logits(family, family.model), dense)  # the dense model is left alone


def test_what_is_quantized_and_what_is_shared(family: Any) -> None:
    adapter, model = family.adapter, family.model
    quantized = quantize_int8(model, adapter)
    dense_of = dict(model.named_modules())
    replaced = {name for name, m in quantized.named_modules() if isinstance(m, Int8Linear)}
    expected = {
        f"{adapter.layers}.{index}.{projection.path}"
        for index in range(len(model.get_submodule(adapter.layers)))
        for projection in adapter.projections
    }
    assert replaced == expected
    assert all(type(dense_of[name]) is nn.Linear for name in replaced)
    for name, parameter in quantized.named_parameters():
        assert parameter.data_ptr() == model.get_parameter(name).data_ptr()
    name = min(replaced)
    weight = model.get_submodule(name).weight
    assert quantized.get_submodule(name).weight.nbytes * 4 == weight.nbytes


def test_float16_does_not_overflow() -> None:
    linear = nn.Linear(4096, 2, bias=False).half()
    with torch.no_grad():
        linear.weight.fill_(0.01)
    x = torch.ones(1, 4096).half()  # 4096 * 127 is far beyond float16
    assert torch.allclose(Int8Linear(linear)(x), linear(x), rtol=1e-2)


def test_bfloat16(families: dict[str, Callable[..., Any]]) -> None:
    family = families["llava-llama"]()
    family.batch["pixel_values"] = family.batch["pixel_values"].bfloat16()
    model = family.model.bfloat16()
    dense = logits(family, model)
    quantized = logits(family, quantize_int8(model, family.adapter))
    assert quantized.dtype == torch.bfloat16
    assert float((quantized - dense).float().norm() / dense.float().norm()) < 0.05
