"""Quantized products by numpy in double precision, and a model of one linear to quantize."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from trainables.efficiency.measure import stored_bytes

# Dettmers et al., arXiv 2305.14314, appendix E.
NF4 = np.array(
    [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
     -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
     0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
     0.7229568362236023, 1.0]
)  # fmt: skip


def one_linear(rows: int, columns: int, dtype: torch.dtype = torch.float32) -> Any:
    """A one-layer model with normal weights; `ADAPTER` knows it."""
    torch.manual_seed(rows)
    holder = nn.Module()
    holder.layers = nn.ModuleList([nn.Module()])
    holder.layers[0].fc = nn.Linear(columns, rows, dtype=dtype).requires_grad_(False)
    holder.layers[0].fc.weight.normal_(std=columns**-0.5)
    return holder


class OneLinear:
    """As much of an adapter as `quantize` reads."""

    def lora_target_regex(self) -> str:
        """The path of the one linear."""
        return r"layers\.\d+\.fc"


ADAPTER: Any = OneLinear()


def nf4(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The nearest of the 16 values in blocks of 64, each scaled by its largest magnitude."""
    flat = weight.astype(np.float64).reshape(-1)
    blocks = np.pad(flat, (0, -flat.size % 64)).reshape(-1, 64)
    scale = np.abs(blocks).max(1, keepdims=True)
    codes = np.abs((blocks / np.where(scale, scale, 1))[:, :, None] - NF4).argmin(2)
    rounded = (NF4[codes] * scale).reshape(-1)[: flat.size].reshape(weight.shape)
    return x.astype(np.float64) @ rounded.T


def llm_int8(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """LLM.int8 of one product: rows in int8, columns with an activation of 6 or more apart."""
    weight, x = weight.astype(np.float16).astype(np.float64), x.astype(np.float64)
    scale = np.abs(weight).max(1, keepdims=True) / 127
    quantized = np.rint(weight / np.where(scale, scale, 1))
    outliers = (np.abs(x) >= 6).any(0)
    rest = np.where(outliers, 0, x)
    step = np.abs(np.where(np.abs(x) >= 6, 0, x)).max(1, keepdims=True) / 127
    product = np.rint(rest / np.where(step, step, 1)) @ quantized.T * step * scale.T
    return product + x[:, outliers] @ (quantized * scale)[:, outliers].T


def int8_weight_only(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Rows in int8, a step being the largest magnitude of a row over 127.5.

    In float32 and by the reciprocal, because the largest of every row lies halfway: -127.5.
    """
    weight = weight.astype(np.float32)
    scale = np.maximum(np.abs(weight).max(1, keepdims=True) / np.float32(127.5), np.float32(2**-23))
    rounded = np.clip(np.rint(weight * (1 / scale)), -128, 127).astype(np.float64) * scale
    return x.astype(np.float64) @ rounded.T


BY_NUMPY = {"nf4": nf4, "llm_int8": llm_int8, "int8_weight_only": int8_weight_only}


def weight_bytes(linear: nn.Module) -> int:
    """Stored bytes of a linear without its bias, which is not quantized."""
    bias = linear.bias
    return stored_bytes(linear) - (0 if bias is None else bias.nbytes)
