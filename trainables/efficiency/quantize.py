"""A finished student with quantized weights: LLM.int8 and NF4 by bitsandbytes, int8 by torchao.

What is quantized: every linear of the decoder layers. Embedding, head, norms, projector and vision
tower stay as they are. `from_pretrained` with a quantization config leaves the head alone as well,
but takes the linears of vision tower and projector along, unless it is told not to; told so
(`quantizers.loading_config`), it gives the same model as this file. The study does not say what it
did, but its Table 4 does: LLaVA-7B of 32, 27 and 22 layers takes 7.5, 6.5 and 5.4 thousand MiB in
int8 (its unit is Table 7's over 1000), where the decoder's linears alone make 7.3, 6.3 and 5.4, and
all linears but the head 7.0, 6.0 and 5.1.

- `llm_int8`: each row of a weight in int8 with one float32 scale, each token's activations in int8
  at run time; only the columns with an activation beyond 6 are multiplied in the model's type (with
  the rounded weights). Which those are depends on every token of the batch, so an answer may depend
  on what it is batched with.
- `nf4`: blocks of 64 weights, in the order in which they lie in memory, so a block may end in
  another row and any width will do; 4 bits each of 16 quantiles of a normal distribution, and one
  float32 scale per block. The product is computed in the model's type with weights that are
  dequantized first.
- `int8_weight_only`: rows of a weight in int8 as well; activations are not touched.

`definitions.py` says each in torch. Where a library's product is another one on this processor
(`products.py`), the definition computes it, and the report says so.

On a CPU none of them saves time: without AVX512 bitsandbytes multiplies int8 values as floats, and
NF4 and torchao turn the weight into the input's type in every pass. What is saved is memory.
"""

import functools
import importlib.metadata
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from trainables.common.device import processor_name
from trainables.efficiency.definitions import OUTLIER, DefinedLinear
from trainables.efficiency.measure import stored_bytes
from trainables.efficiency.products import quantized_linear
from trainables.models.families.adapter import VLMAdapter
from trainables.models.quantizers import LIBRARIES, check_quantization
from trainables.records import DefinedProducts, EfficiencyReport, QuantizedProducts
from trainables.specs import MIB, Quantization

M = TypeVar("M", bound=nn.Module)


@torch.no_grad()
def quantize(model: M, adapter: VLMAdapter, quantization: Quantization) -> M:
    """The model with quantized decoder linears; it is changed in place, layer by layer.

    In place, so that no second copy of the weights is ever in memory. It serves inference only.

    Args:
        model: dense or pruned to any widths, LoRA merged; in eval mode afterwards.
        adapter: table of its architecture.
        quantization: `none` leaves the model as it is.

    Raises:
        ValueError: the library is missing or does not run on the model's device.
    """
    if quantization == "none":
        return model
    check_quantization(quantization)
    by_library = _BY_LIBRARY[quantization]
    decoder = re.compile(adapter.lora_target_regex())
    paths = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and decoder.fullmatch(path)
    ]
    if LIBRARIES[quantization] == "bitsandbytes":
        _check_device(model, quantization)
    for path in paths:
        linear = cast("nn.Linear", model.get_submodule(path))
        model.set_submodule(path, quantized_linear(quantization, linear, by_library))
    return model.eval()


def quantized_efficiency(
    report: EfficiencyReport, model: nn.Module, quantization: Quantization, dtype: str
) -> EfficiencyReport:
    """The report on the unquantized model, with the weights' memory of the quantized one.

    Parameters and FLOPs are counted as if nothing was quantized.

    Args:
        report: on the model before `quantize`.
        model: after it.
        quantization: what it was quantized to; not `none`.
        dtype: of the stored weights that are not quantized.
    """
    mib, memory = stored_bytes(model, dtype) / MIB, report.memory
    if memory is not None:
        total = memory.total_mib - memory.weights_mib + mib
        memory = memory.model_copy(update={"weights_mib": mib, "total_mib": total})
    update = {
        "weights_mib": mib,
        "memory": memory,
        "quantization": quantization,
        "products": products_of(model, quantization),
    }
    return report.model_copy(update=update)


def products_of(model: nn.Module, quantization: Quantization) -> QuantizedProducts:
    """Who multiplies in a quantized model."""
    defined = [module for module in model.modules() if isinstance(module, DefinedLinear)]
    shapes = Counter((d.out_features, d.in_features, d.library_error) for d in defined)
    library = LIBRARIES[quantization]
    return QuantizedProducts(
        library=f"{library} {importlib.metadata.version(library)}",
        processor=processor_name(next(model.parameters()).device),
        by_definition=tuple(
            DefinedProducts(
                outputs=outputs,
                inputs=inputs,
                linears=count,
                library_error=error if math.isfinite(error) else None,
            )
            for (outputs, inputs, error), count in sorted(shapes.items())
        ),
    )


def probed_products(
    quantization: Quantization, widths: Iterable[int], device: str = "cpu"
) -> QuantizedProducts:
    """Who would multiply normal weights [64, width] in float32 on this processor.

    Raises:
        ValueError: the library is missing.
    """
    check_quantization(quantization)
    linears = [nn.Linear(width, 64, device=device).requires_grad_(False) for width in widths]
    for linear in linears:
        linear.weight.normal_(generator=torch.Generator(device).manual_seed(0))
    by_library = _BY_LIBRARY[quantization]
    made = [quantized_linear(quantization, linear, by_library) for linear in linears]
    return products_of(nn.Sequential(*made), quantization)


def _int8_weight_only(linear: nn.Linear) -> nn.Linear:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    # Its settings for inductor would change the precision of every matrix product of this process,
    # those of the trials that come after in the same slot included.
    config = Int8WeightOnlyConfig(set_inductor_config=False)
    holder = nn.Sequential(linear)
    quantize_(holder, config)
    return cast("nn.Linear", holder[0])


def _llm_int8(linear: nn.Linear) -> nn.Linear:
    from bitsandbytes.nn import Int8Params, Linear8bitLt

    # It says in every pass of every linear that inputs are cast to float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    device = linear.weight.device
    new = Linear8bitLt(
        linear.in_features,
        linear.out_features,
        linear.bias is not None,
        has_fp16_weights=False,
        threshold=OUTLIER,
        device="meta",
    )
    # It is quantized on its way from the CPU, and only then.
    weight = Int8Params(linear.weight.data.cpu(), requires_grad=False, has_fp16_weights=False)
    return _with(new, weight.to(device), linear.bias)


def _nf4(linear: nn.Linear) -> nn.Linear:
    from bitsandbytes.nn import Params4bit

    new = _linear4bit()(
        linear.in_features,
        linear.out_features,
        linear.bias is not None,
        compute_dtype=linear.weight.dtype,
        compress_statistics=False,
        quant_type="nf4",
        device="meta",
    )
    weight = Params4bit(
        linear.weight.data,
        requires_grad=False,
        compress_statistics=False,
        quant_type="nf4",
        module=new,
    )
    return _with(new, weight.to(linear.weight.device), linear.bias)


def _with(new: nn.Linear, weight: nn.Parameter, bias: nn.Parameter | None) -> nn.Linear:
    new.weight = weight
    new.register_parameter("bias", bias)
    return new


@functools.cache
def _linear4bit() -> Any:
    """Its linear, but on a CPU in the input's type on every machine, and without a compiler."""
    from bitsandbytes.nn import Linear4bit

    class PlainLinear4bit(Linear4bit):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            # A CPU with AVX512-BF16 would round activations to bfloat16, repack the weight at the
            # first pass, and refuse widths that are no multiple of 32 or 64.
            self.support_avx512bf16_for_cpu = False

        def forward(self, x: Tensor) -> Tensor:
            # For odd widths it compiles a function anew for every shape, which takes seconds.
            with torch.compiler.set_stance("force_eager"):
                return cast("Tensor", super().forward(x))

    return PlainLinear4bit


_BY_LIBRARY: Mapping[Quantization, Callable[[nn.Linear], nn.Linear]] = {
    "llm_int8": _llm_int8,
    "nf4": _nf4,
    "int8_weight_only": _int8_weight_only,
}


def _check_device(model: nn.Module, quantization: Quantization) -> None:
    import bitsandbytes

    kind = next(model.parameters()).device.type
    if kind not in bitsandbytes.supported_torch_devices:
        raise ValueError(
            f"quantization={quantization!r} is asked for on a device of type {kind!r}, but "
            f"bitsandbytes runs on {', '.join(sorted(bitsandbytes.supported_torch_devices))}; "
            "choose quantization='int8_weight_only' or 'none'"
        )
