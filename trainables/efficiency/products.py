"""Whether a library's quantized product is what its format says, for one shape on one device.

Kernels are chosen by processor, width, type and number of tokens, and some are wrong (docs/cost.md
names those that were seen). So the first linear of each shape that a process quantizes is
multiplied by a few tokens and held against `definitions.py`; where it is off, the definition takes
its place, in every linear of that shape.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainables.common.device import is_out_of_memory
from trainables.efficiency.definitions import DEFINITIONS, DefinedLinear
from trainables.specs import Quantization

# Of the product's norm. Rounding (bfloat16 too) and weights halfway between two codes leave less
# than half of it; the formats themselves cost about 0.01 (int8) and 0.1 (NF4).
TOLERANCE = 0.01
TOKENS = 17  # more than a tile of a matrix kernel; a single one takes another kernel on a GPU
MASSIVE = 1000.0  # as activations of LLaMA-7B get (Sun et al., arXiv 2402.17762)
ENDS = 64  # columns at both ends, and rows at both ends and in the middle

_errors: dict[tuple[object, ...], float] = {}


def quantized_linear(
    quantization: Quantization, linear: nn.Linear, by_library: Callable[[nn.Linear], nn.Module]
) -> nn.Module:
    """The linear as the library quantizes it, or by its definition where the library is wrong.

    Args:
        quantization: any but `none`.
        linear: unquantized; it may be changed.
        by_library: makes the library's of it, with the same bias.
    """
    weight, bias = linear.weight.data, linear.bias
    key = (quantization, weight.shape, bias is None, weight.device, weight.dtype)
    made = None
    if _errors.get(key, 0.0) <= TOLERANCE:
        try:
            made = by_library(linear).eval()  # in training LLM.int8 multiplies floats
            if key not in _errors:
                _errors[key] = product_error(made, DEFINITIONS[quantization], weight)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            _errors[key] = math.inf
    if made is not None and _errors[key] <= TOLERANCE:
        return made
    defined = DEFINITIONS[quantization](weight, bias)
    defined.library_error = _errors[key]
    return defined


@torch.no_grad()
def product_error(made: nn.Module, definition: type[DefinedLinear], weight: Tensor) -> float:
    """||library - definition|| / ||definition|| of the worst of some tokens.

    Over the first, the last and the middle outputs; inf where the library's are not numbers.

    Args:
        made: the library's linear; its bias, if it has one, is replaced for the while.
        definition: of its format.
        weight: what was quantized, [O, I].
    """
    outputs, inputs = weight.shape
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(TOKENS, inputs, generator=generator)
    tokens[1, :-ENDS] = 0
    tokens[2, ENDS:] = 0
    tokens[3, inputs // 2], tokens[4, inputs // 3] = MASSIVE, -20.0
    # As large as the product: a model's own may be so large as to hide it (keys of Qwen2).
    bias = torch.randn(outputs, generator=generator) * float(weight.float().norm()) / outputs**0.5
    kept = made.bias
    worst = 0.0
    try:
        if kept is not None:
            made.bias = nn.Parameter(bias.to(kept), requires_grad=False)
        for x in (tokens.to(weight), tokens[:1].to(weight)):
            found = made(x)
            for rows in _rows(outputs):
                part = None if kept is None else nn.Parameter(made.bias[rows], False)
                wanted = definition(weight[rows], part)(x).double()
                off = (found[:, rows].double() - wanted).norm(dim=1) / wanted.norm(dim=1)
                worst = max(worst, float(off.nan_to_num(math.inf, math.inf).max()))
    finally:
        made.bias = kept
    return worst


def _rows(outputs: int) -> list[slice]:
    """Rows that are held against the definition; they begin and end where blocks of NF4 do."""
    starts = {0, outputs // 2 // ENDS * ENDS, (outputs - 1) // ENDS * ENDS}
    return [slice(start, start + ENDS) for start in sorted(starts)]
