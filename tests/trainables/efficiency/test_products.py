"""A quantized product is what its definition says, at any width, on any processor.

Where a library's kernel is wrong, the definition multiplies, and the report says so. Kernels are
made wrong on purpose here, so that no particular processor is needed to see it.
"""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers.quantized import ADAPTER, BY_NUMPY, one_linear, weight_bytes
from torch import nn

from trainables.efficiency import products
from trainables.efficiency.definitions import DEFINITIONS, DefinedLinear
from trainables.efficiency.products import ENDS, TOLERANCE, product_error
from trainables.efficiency.quantize import _BY_LIBRARY, probed_products, products_of, quantize
from trainables.models.quantizers import LIBRARIES
from trainables.records import DefinedProducts, EfficiencyReport, QuantizedProducts
from trainables.specs import Quantization

KINDS = tuple(LIBRARIES)
NOISE = 2e-3  # an activation or weight that lies halfway between two codes may go either way
WIDTHS = (1, 2, 3, 7, 15, 17, *range(16, 369, 16), 61, 77, 130, 333, 1000, 1001, 1536, 2202, 2203)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_errors", {})


def test_every_quantization_has_a_library_and_a_definition() -> None:
    kinds = set(get_args(Quantization)) - {"none"}
    assert kinds == set(LIBRARIES) == set(DEFINITIONS) == set(_BY_LIBRARY)


def _tokens(width: int) -> torch.Tensor:
    """Five tokens in float16's grid, one of them with two outliers."""
    x = torch.randn(5, width, generator=torch.Generator().manual_seed(width)).half().float()
    x[2, 0], x[4, width // 2] = 40.0, -7.5
    return x


def _off(found: torch.Tensor, expected: np.ndarray) -> float:
    """The largest error of a token, over its product."""
    off = np.linalg.norm(found.double().numpy() - expected, axis=1)
    return float((off / np.linalg.norm(expected, axis=1)).max())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_products_of_any_width_are_their_definition(kind: Any, width: int) -> None:
    model, x = one_linear(97, width), _tokens(width)
    linear = model.layers[0].fc
    expected = BY_NUMPY[kind](linear.weight.numpy(), x.numpy()) + linear.bias.double().numpy()
    defined = DEFINITIONS[kind](linear.weight.data, linear.bias)
    quantize(model, ADAPTER, kind)
    assert _off(model.layers[0].fc(x), expected) < NOISE
    assert _off(defined(x), expected) < NOISE
    assert _off(model.layers[0].fc(x[None])[0], expected) < NOISE  # with a batch dimension
    values = -(-97 * width // 2) if kind == "nf4" else 97 * width
    assert weight_bytes(defined) <= values + 4 * max(97, -(-97 * width // 64)) + 100


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_rounded_and_no_more(kind: Any, dtype: torch.dtype) -> None:
    for width in (48, 96, 160, 333):
        model, x = one_linear(97, width, dtype), _tokens(width).to(dtype)
        weight, bias = (p.float().numpy() for p in model.layers[0].fc.parameters())
        expected = BY_NUMPY[kind](weight, x.float().numpy()) + bias
        quantize(model, ADAPTER, kind)
        found = model.layers[0].fc(x)
        assert found.dtype == dtype
        assert _off(found, expected) < 2 * torch.finfo(dtype).eps + NOISE


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_products_on_a_gpu_are_their_definition(kind: Any, dtype: torch.dtype) -> None:
    for width in (64, 80, 96, 160, 192, 333, 1000, 2202):
        model, x = one_linear(97, width, dtype).cuda(), _tokens(width).to("cuda", dtype)
        weight, bias = (p.float().cpu().numpy() for p in model.layers[0].fc.parameters())
        expected = BY_NUMPY[kind](weight, x.float().cpu().numpy()) + bias
        quantize(model, ADAPTER, kind)
        assert _off(model.layers[0].fc(x).cpu(), expected) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_activation_does_not_overflow_float16(kind: Any) -> None:
    """torchao scales products instead of weights: 1,000 times a code of 127 is infinite there."""
    model = one_linear(64, 64, torch.float16)
    x = torch.ones(1, 64, dtype=torch.float16)
    x[0, 5] = 1000.0
    expected = model.layers[0].fc(x)
    quantize(model, ADAPTER, kind)
    found = model.layers[0].fc(x)
    assert (found - expected).norm() / expected.norm() < (0.2 if kind == "nf4" else 0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_zeros_stays_one(kind: Any) -> None:
    weight = torch.randn(70, 96)
    weight[3:6] = 0
    defined = DEFINITIONS[kind](weight, None)
    x = torch.randn(4, 96)
    x[1] = 0
    found = defined(x)
    assert not found[:, 3:6].any()
    assert not found[1].any()
    assert _off(found[[0, 2, 3]], BY_NUMPY[kind](weight.numpy(), x[[0, 2, 3]].numpy())) < 0.01


def _make_wrong(monkeypatch: pytest.MonkeyPatch, kind: str) -> list[int]:
    """Let the library drop the last of its outputs' inputs; the list grows with every product."""
    calls: list[int] = []
    import bitsandbytes  # noqa: F401  # registers the operators
    from torchao.quantization import Int8Tensor

    ops = torch.ops.bitsandbytes
    if kind == "nf4":
        right = ops.gemm_4bit.default

        def gemm(x: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
            calls.append(x.shape[-1])
            return right(torch.cat([x[..., :-1], 0 * x[..., -1:]], -1), *rest, **more)

        monkeypatch.setattr(ops.gemm_4bit, "default", gemm)
    elif kind == "llm_int8":
        mixed = ops.int8_mixed_scaled_mm

        def mm(x: torch.Tensor, *rest: Any, **more: Any) -> Any:
            calls.append(x.shape[-1])
            product, apart = mixed(x, *rest, **more)
            return product * 1.02, apart

        monkeypatch.setattr(ops, "int8_mixed_scaled_mm", mm)
    else:
        table = Int8Tensor._TORCH_FN_TABLE[Int8Tensor]
        multiply = table[nn.functional.linear]

        def linear(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
            calls.append(args[0].shape[-1])
            return multiply(func, types, args, kwargs).roll(1, -1)

        monkeypatch.setitem(table, nn.functional.linear, linear)
    return calls


@pytest.mark.parametrize("width", [64, 130])
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_kernel_is_found_replaced_and_reported(
    kind: Any, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _make_wrong(monkeypatch, kind)
    model, x = one_linear(97, width), _tokens(width)
    linear = model.layers[0].fc
    expected = BY_NUMPY[kind](linear.weight.numpy(), x.numpy()) + linear.bias.double().numpy()
    quantize(model, ADAPTER, kind)
    assert calls == [width, width]  # seventeen tokens, and one
    assert isinstance(model.layers[0].fc, DefinedLinear)
    assert _off(model.layers[0].fc(x), expected) < NOISE
    (found,) = products_of(model, kind).by_definition
    assert (found.outputs, found.inputs, found.linears) == (97, width, 1)
    assert found.library_error is not None
    assert found.library_error > TOLERANCE
    quantize(one_linear(97, width), ADAPTER, kind)
    assert len(calls) == 2, "what is known of a shape is asked again"


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_kernel_is_kept_and_asked_once_per_shape_and_type(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def count(*given: Any) -> float:
        asked.append(given)
        return product_error(*given)

    monkeypatch.setattr(products, "product_error", count)
    for columns, dtype in ((64, torch.float32), (64, torch.float32), (192, torch.float32),
                           (64, torch.bfloat16)):  # fmt: skip
        model = one_linear(96, columns, dtype)
        bias = model.layers[0].fc.bias
        quantize(model, ADAPTER, kind)
        assert not isinstance(model.layers[0].fc, DefinedLinear)
        assert model.layers[0].fc.bias is bias
        assert products_of(model, kind).by_definition == ()
    assert len(asked) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_shape_that_the_library_refuses_is_defined(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trainables.efficiency.quantize as module

    def refuse(linear: nn.Linear) -> nn.Linear:
        raise NotImplementedError("no kernel for this shape")

    monkeypatch.setattr(module, "_BY_LIBRARY", {kind: refuse})
    model = one_linear(32, 64)
    quantize(model, ADAPTER, kind)
    (found,) = products_of(model, kind).by_definition
    assert found == DefinedProducts(outputs=32, inputs=64, linears=1, library_error=None)

    def starve(linear: nn.Linear) -> nn.Linear:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(products, "_errors", {})
    monkeypatch.setattr(module, "_BY_LIBRARY", {kind: starve})
    with pytest.raises(torch.OutOfMemoryError):
        quantize(one_linear(32, 64), ADAPTER, kind)


def test_one_wrong_column_of_thousands_is_seen() -> None:
    weight = torch.randn(300, 2202)
    definition = DEFINITIONS["int8_weight_only"]
    # A processor may round the product of all rows otherwise than that of those that are looked at.
    assert product_error(definition(weight, None), definition, weight) < 1e-5
    assert product_error(definition(weight[:ENDS], None), definition, weight[:ENDS]) == 0
    for column in (0, -1):
        wrong = definition(weight, None)
        wrong.weight[:, column] = 0
        assert product_error(wrong, definition, weight) > 5 * TOLERANCE
    wrong.scale[-1] = math.nan
    assert product_error(wrong, definition, weight) == math.inf


def test_the_report_says_who_multiplies_and_older_ones_load() -> None:
    shapes = [
        DefinedProducts(outputs=64, inputs=width, linears=3, library_error=error)
        for width, error in ((80, 0.214), (96, None))
    ]
    found = QuantizedProducts(library="lib 1.0", processor="P", by_definition=tuple(shapes))
    assert found.sentence == (
        "6 linears (80, 96 inputs) are multiplied by the format's definition: lib 1.0 is off by up "
        "to 0.21 of the norm on P"
    )
    plain = {"params": 3, "lm_params": 2, "weights_mib": 1.0, "tflops": 0.1}
    assert EfficiencyReport.model_validate(plain).products is None
    report = EfficiencyReport.model_validate({**plain, "products": found.model_dump()})
    assert EfficiencyReport.model_validate_json(report.model_dump_json()).products == found


def test_the_probe_of_a_processor_names_library_processor_and_widths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _make_wrong(monkeypatch, "nf4")
    found = probed_products("nf4", (64, 128))
    assert found.library.startswith("bitsandbytes ")
    assert torch.backends.cpu.get_cpu_capability() in found.processor
    assert [(shape.inputs, shape.linears) for shape in found.by_definition] == [(64, 1), (128, 1)]
