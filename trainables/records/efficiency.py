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


class EfficiencyReport(Frozen):
    """Size and work of the whole model (vision tower and projector included).

    `weights_mib` is at the stored dtype, or what the quantized weights take with their scales;
    `tflops` counts 2 FLOPs per multiply-add of one image and the prompt of the spec, by torch's
    flop counter on the meta device.
    """

    params: int
    lm_params: int
    weights_mib: float
    tflops: float
    latency: Latency | None = None
    parts: Parts | None = None
    memory: InferenceMemory | None = None
    quantization: Quantization = "none"
