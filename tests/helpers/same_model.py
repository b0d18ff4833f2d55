"""Two models that are one: equal weights and tokens, logits that are equal to float noise.

Equal weights in other memory may give other bits: which kernel multiplies depends on how the memory
is aligned, and the kernels add in different orders (1.3e-6 on a processor with AVX-512).
"""

from __future__ import annotations

from typing import Any

import torch

NOISE = 1e-5  # of the largest logit, in float32


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal but for `NOISE`."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    largest = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=NOISE * largest)


def equal_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    """The same tensors under the same names, bit by bit."""
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def same_model(one: Any, other: Any, inputs: dict[str, Any]) -> None:
    """Equal weights, and the same logits for `inputs`."""
    equal_weights(one, other)
    with torch.no_grad():
        close(one(**inputs).logits, other(**inputs).logits)
