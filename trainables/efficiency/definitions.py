"""Quantized linears by the definitions of their formats, in plain torch.

What a library's product is held against (`products.py`), and what computes in its place where the
library is wrong. Slower than a library's kernel, as small in memory, the same on every processor.

Shapes: O outputs, I inputs, B = ceil(O I / 64) blocks of NF4; `codes` are what is stored.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.specs import Quantization

OUTLIER = 6.0  # of LLM.int8, as in its paper and in transformers
BLOCK = 64  # of NF4
# Quantiles of a normal distribution: Dettmers et al., arXiv 2305.14314, appendix E.
NF4_VALUES = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip
LEAST = 1e-30  # divides what is all zeros; its quotient into 127 is finite


class DefinedLinear(nn.Module):
    """x [..., I] -> x W^T + bias [..., O] in the type of x, with the quantized W.

    Attributes:
        weight: the codes.
        scale: float32, of rows [O, 1] or blocks [B].
        library_error: how wrong the library's product was that this one stands in for; inf where
            the library refused, 0 where nobody asked.
    """

    weight: Tensor
    scale: Tensor
    bias: nn.Parameter | None

    def __init__(self, weight: Tensor, bias: nn.Parameter | None) -> None:
        """Quantize `weight` [O, I]; the bias is kept as it is."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.library_error = 0.0
        codes, scale = self.encode(weight)
        self.register_buffer("weight", codes)
        self.register_buffer("scale", scale)
        self.register_parameter("bias", bias)

    def encode(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and scales of a weight [O, I]."""
        raise NotImplementedError

    def decode(self) -> Tensor:
        """W in float32, [O, I]."""
        return self.weight.float().mul_(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """The product; W is made anew in every pass."""
        return functional.linear(x, self.decode().to(x.dtype), self.bias)


class Nf4Linear(DefinedLinear):
    """Blocks of 64 weights in the order of memory: the nearest of 16 values times the largest.

    Codes are [32 B] uint8, the first of two weights in the high half of a byte.
    """

    values: Tensor

    def __init__(self, weight: Tensor, bias: nn.Parameter | None) -> None:
        """Quantize `weight` [O, I]; the bias is kept as it is."""
        super().__init__(weight, bias)
        self.register_buffer("values", torch.tensor(NF4_VALUES, device=weight.device))

    def encode(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Packed nibbles [32 B] and the largest magnitude of each block [B]."""
        flat = weight.float().flatten()
        blocks = functional.pad(flat, (0, -flat.numel() % BLOCK)).view(-1, BLOCK)
        scale = blocks.abs().amax(1)
        values = torch.tensor(NF4_VALUES, device=weight.device)
        halfway = (values[1:] + values[:-1]) / 2
        shares = blocks / scale.clamp(min=LEAST)[:, None]
        codes = torch.bucketize(shares, halfway, out_int32=True).to(torch.uint8).flatten()
        return codes[::2] << 4 | codes[1::2], scale

    def decode(self) -> Tensor:
        """W in float32, [O, I]."""
        pairs = torch.cartesian_prod(self.values, self.values)  # of each of 256 bytes
        blocks = functional.embedding(self.weight.int(), pairs).view(-1, BLOCK)
        flat = blocks.mul_(self.scale[:, None]).flatten()
        return flat[: self.out_features * self.in_features].view(self.out_features, -1)


class Int8WeightOnlyLinear(DefinedLinear):
    """Rows of int8 codes in [-128, 127], a step being the row's largest magnitude / 127.5."""

    def encode(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [O, I] and steps [O, 1]."""
        # In the weight's type, as torchao rounds it.
        scale = (weight.abs().amax(1, keepdim=True) / 127.5).float()
        scale.clamp_(min=torch.finfo(torch.float32).eps)
        return (weight.float() * (1 / scale)).round_().clamp_(-128, 127).to(torch.int8), scale


class LlmInt8Linear(DefinedLinear):
    """Weights and tokens in int8, except columns with an activation of 6 or more (2208.07339)."""

    def encode(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [O, I] of the weight in float16 and steps [O, 1]."""
        return _int8_rows(weight.half().float())

    def forward(self, x: Tensor) -> Tensor:
        """The product; which columns are apart depends on all tokens of x."""
        tokens = x.reshape(-1, self.in_features)
        rounded = tokens.half().float()
        outliers = rounded.abs() >= OUTLIER
        columns = outliers.any(0)
        # What is left of a column with outliers still counts for the tokens' steps.
        codes, step = _int8_rows(rounded.masked_fill(outliers, 0))
        whole = codes.masked_fill(columns, 0).float() @ self.weight.float().T  # of integers
        product = whole * step * self.scale.T
        product += tokens[:, columns].float() @ (self.weight[:, columns] * self.scale).T
        if self.bias is not None:
            product += self.bias
        return product.to(x.dtype).view(*x.shape[:-1], self.out_features)


def _int8_rows(values: Tensor) -> tuple[Tensor, Tensor]:
    """Each row of float32 values as codes in [-127, 127] and its step, [rows, 1]."""
    largest = values.abs().amax(1, keepdim=True)
    codes = (values * (127 / largest.clamp(min=LEAST))).round_().to(torch.int8)
    return codes, largest / 127


DEFINITIONS: Mapping[Quantization, type[DefinedLinear]] = {
    "llm_int8": LlmInt8Linear,
    "nf4": Nf4Linear,
    "int8_weight_only": Int8WeightOnlyLinear,
}
