"""The teacher's linears with int8 weights, half of bf16's; activations stay as they are.

Each row o of a weight is kept as integers q in [-127, 127] and one scale s_o = max|w_o| / 127, so
that |w - s q| <= s / 2 and, for an input x, an output is off by at most max|w_o| / 254 * sum|x|
(and the rounding of the type in which it computes).

Of our own, because torchao 0.18's `Int8WeightOnlyConfig`, as accurate (both are off by 0.39 % of
the output's norm) and as fast on a CPU (0.51 against 0.50 s, bfloat16, 1024 x 4096 x 11008), scales
the products instead of the weights, which overflows float16: 4096 ones on weights of 0.01 give inf.
What int8 could save is memory, not time: each pass turns one linear after the other into the
input's type. In a trial the dense model stays loaded beside it, since students are cut from it.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.models.families.adapter import VLMAdapter


class Int8Linear(nn.Module):
    """x -> x (s q)^T + bias, with q int8 [out, in] and s float32 [out, 1]."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        """Quantize a linear's weight, row by row; its bias is shared."""
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1, keepdim=True) / 127
        scale.clamp_(min=torch.finfo(torch.float32).tiny)  # of a row of zeros
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], in the type of the input."""
        # Scaling the products instead would overflow float16.
        weight = self.weight.to(x.dtype).mul_(self.scale.to(x.dtype))
        return functional.linear(x, weight, self.bias)


def quantize_int8(model: nn.Module, adapter: VLMAdapter) -> nn.Module:
    """A copy of the model whose decoder layers have int8 linears; the model is left alone.

    Everything else (embedding, head, norms, vision tower, projector) is shared with the model, not
    copied. The head is not quantized: what the teacher says comes straight from it, and it is often
    the embedding too.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    quantized = copy.deepcopy(model, shared)
    for layer in quantized.get_submodule(adapter.layers).children():
        for projection in adapter.projections:
            linear = layer.get_submodule(projection.path)
            assert isinstance(linear, nn.Linear)
            layer.set_submodule(projection.path, Int8Linear(linear))
    return quantized.eval()
