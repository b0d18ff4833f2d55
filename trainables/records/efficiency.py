"""Size, work, memory and latency of one model."""

from typing import Literal

from trainables.specs import Frozen, Quantization


class Latency(Frozen):
    """Milliseconds of prefill plus `new_tokens` decoded tokens per batch: median and quartiles.

    `prefill_ms` is the median up to the first token, `decode_ms` that of each further token,
    `tokens_per_second` the new tokens of the whole batch over the median time, `energy_joules` the
    mean per batch over some seconds; None where it was not measured (a device may not report it).
    """

    device: str
    median_ms: float
    lower_ms: float
    upper_ms: float
    dense_median_ms: float
    repeats: int
    batch: int = 1
    prefill_ms: float | None = None
    decode_ms: float | None = None
    tokens_per_second: float | None = None
    energy_joules: float | None = None


class Parts(Frozen):
    """Parameters by part; tied ones count once, as embeddings.

    `embeddings` are the token embeddings and the head, `language_model` the rest of it.
    """

    vision: int
    projector: int
    language_model: int
    embeddings: int


class InferenceMemory(Frozen):
    """Memory of answering one prompt of the spec, batch 1: weights, KV cache and activations.

    `how` says whether the allocator was asked while it ran (CUDA) or the parts were computed.
    """

    how: Literal["measured", "computed"]
    weights_mib: float
    kv_cache_mib: float
    activations_mib: float
    total_mib: float


class DefinedProducts(Frozen):
    """Quantized linears of one shape that their format's definition multiplies, not its library.

    `library_error` is the norm of the library's error over that of the product; None where the
    library refused the shape.
    """

    outputs: int
    inputs: int
    linears: int
    library_error: float | None


class QuantizedProducts(Frozen):
    """Who multiplies in a quantized model: `library` on `processor`, or the format's definition.

    The definition does where the library's product of this shape, on this processor, was not what
    the format says. A library alone, as in a checkpoint loaded elsewhere, is off there.
    """

    library: str
    processor: str
    by_definition: tuple[DefinedProducts, ...] = ()

    @property
    def sentence(self) -> str:
        """Where the library was wrong, or that it was right."""
        if not self.by_definition:
            return f"all are multiplied by {self.library}, rightly, on {self.processor}"
        linears = sum(shape.linears for shape in self.by_definition)
        widths = sorted({shape.inputs for shape in self.by_definition})
        few = ", ".join(map(str, widths)) if len(widths) < 9 else f"{widths[0]} to {widths[-1]}"
        errors = [s.library_error for s in self.by_definition if s.library_error is not None]
        off = f"is off by up to {max(errors):.2g} of the norm" if errors else "refuses them"
        return (
            f"{linears} linears ({few} inputs) are multiplied by the format's definition: "
            f"{self.library} {off} on {self.processor}"
        )


class EfficiencyReport(Frozen):
    """Size and work of the whole model (vision tower and projector included).

    `weights_mib` is at the stored dtype, or what the quantized weights take with their scales;
    `tflops` counts 2 FLOPs per multiply-add of one image and the prompt of the spec, by torch's
    flop counter on the meta device. `products` is None of what is not quantized, and in older
    records.
    """

    params: int
    lm_params: int
    weights_mib: float
    tflops: float
    latency: Latency | None = None
    parts: Parts | None = None
    memory: InferenceMemory | None = None
    quantization: Quantization = "none"
    products: QuantizedProducts | None = None
