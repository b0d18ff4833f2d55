"""Folding the head's bias: exact in float64 algebra, and what storing it costs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from trainables.models.convert.folding import fold_bias, rounding_noise

Head = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def head(rows: int = 300, width: int = 96, shift: float = 0.2, seed: int = 0) -> Head:
    """Weight, bias, gain and shift of a random head and final LayerNorm."""
    generator = torch.Generator().manual_seed(seed)
    weight = 0.05 * torch.randn(rows, width, generator=generator)
    bias = 0.5 * torch.randn(rows, generator=generator)
    gain = 1 + 0.3 * torch.randn(width, generator=generator)
    gain[0], gain[1] = -0.7, 0.02  # gains of either sign, and a small one
    return weight, bias, gain, shift * torch.randn(width, generator=generator)


def states(width: int) -> torch.Tensor:
    """Inputs of the final norm with outlier channels, as language models have them."""
    x = torch.randn(64, width, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    x[:, 3] *= 40
    return x + 5


def logits(
    x: torch.Tensor, weight: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor
) -> torch.Tensor:
    normed = F.layer_norm(x, x.shape[-1:], gain.to(x.dtype), shift.to(x.dtype), 1e-5)
    return normed @ weight.to(x.dtype).T


@pytest.mark.parametrize("shift", [0.0, 0.2, 3.0])
def test_logits_are_the_same(shift: float) -> None:
    weight, bias, gain, old = head(shift=shift)
    new_weight, new_shift = fold_bias(weight, bias, gain, old, torch.float32)
    x = states(96)
    expected = logits(x, weight, gain, old) + bias.double()
    # W' is kept in float32, whose rounding is all that is left.
    given = logits(x, new_weight, gain, new_shift)
    torch.testing.assert_close(given, expected, atol=2e-6, rtol=0)
    single = logits(x.float(), new_weight, gain, new_shift)
    torch.testing.assert_close(single.double(), expected, atol=2e-5, rtol=0)
    assert (given - logits(x, weight, gain, old)).abs().max() > 0.5, "the bias matters here"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_storing_it_in_half_precision_costs_one_rounding(dtype: torch.dtype) -> None:
    weight, bias, gain, old = (tensor.to(dtype) for tensor in head(rows=2000, width=512))
    new_weight, new_shift = fold_bias(weight, bias, gain, old, dtype)
    assert torch.equal(new_shift.to(dtype).float(), new_shift), "the shift is rounded first"
    x = states(512)
    expected = logits(x, weight, gain, old) + bias.double()
    error = logits(x, new_weight.to(dtype), gain, new_shift) - expected
    # The same error that storing a float32 head of that size in this type has, times `noise`.
    fresh = weight.double() * (1 + 0.1 * torch.rand(weight.shape, dtype=torch.float64))
    rounding = logits(x, fresh.to(dtype), gain, old) - logits(x, fresh, gain, old)
    ratio = float(error.square().mean().sqrt() / rounding.square().mean().sqrt())
    scale = gain.double()
    noise = rounding_noise(new_weight.double(), scale, new_shift.double())
    noise = (noise / rounding_noise(weight.double(), scale, old.double())) ** 0.5
    assert ratio == pytest.approx(noise, rel=0.2)
    assert noise < 1.3


def test_no_bias_and_no_shift_change_no_logit() -> None:
    weight, bias, gain, old = head()
    new_weight, new_shift = fold_bias(
        weight, torch.zeros_like(bias), gain, torch.zeros_like(old), torch.float32
    )
    x = states(96)
    expected = logits(x, weight, gain, torch.zeros_like(old))
    torch.testing.assert_close(logits(x, new_weight, gain, new_shift), expected, atol=2e-6, rtol=0)


def test_a_gain_of_zero_is_refused() -> None:
    weight, bias, gain, old = head()
    gain[5] = 1e-30  # 0 in float16
    with pytest.raises(ValueError, match="1 gains of the final LayerNorm are 0"):
        fold_bias(weight, bias, gain, old, torch.float16)
