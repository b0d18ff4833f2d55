"""Memory of answering one prompt: weights, KV cache and activations.

The prompt is one image and `EfficiencySpec.prompt_tokens` text tokens, and `new_tokens` are
generated, at batch 1. The KV cache is as long as it is at the end. Activations are everything else
at its peak, which lies in the prefill.
"""

from typing import Any

import torch
from torch import nn

from trainables.efficiency.meta import FusedAttention, LiveBytes, on_meta
from trainables.efficiency.prompt import embedded_prompt, image_inputs, image_tokens, prompt_inputs
from trainables.models.families.adapter import VLMAdapter
from trainables.records import InferenceMemory
from trainables.specs import MIB, EfficiencySpec


def computed_memory(
    model: nn.Module, adapter: VLMAdapter, spec: EfficiencySpec, weights: int, dtype: str
) -> InferenceMemory:
    """The memory by a pass on the meta device, which needs no memory.

    The KV cache has a key and a value of every layer, token and head. Activations are the most
    bytes of tensors that are alive at once in the vision tower or the decoder, attention taken as
    one fused operation. What kernels allocate besides is not in it.

    Args:
        model: in eval mode, not quantized.
        adapter: table of its architecture.
        spec: lengths.
        weights: bytes of the weights as they are stored (`efficiency.stored_bytes`).
        dtype: in which the model computes.
    """
    ghost = on_meta(model, "sdpa").to(getattr(torch, dtype))
    tokens = image_tokens(model, adapter) + spec.prompt_tokens
    cache = kv_cache_bytes(ghost, adapter, tokens + spec.new_tokens - 1)
    return _memory("computed", weights, cache, activation_bytes(ghost, adapter, spec))


def measured_memory(
    model: Any, adapter: VLMAdapter, spec: EfficiencySpec, weights: int
) -> InferenceMemory:
    """The memory by torch's CUDA allocator around a generation; quantized models too.

    Weights are counted rather than measured, because other models may lie on the device too. The
    KV cache is the one that the generation returns, and activations are the rest of the peak.

    Raises:
        torch.OutOfMemoryError: the device is too small.
    """
    device = next(model.parameters()).device
    inputs = prompt_inputs(model, adapter, spec)
    length = {"max_new_tokens": spec.new_tokens, "min_new_tokens": spec.new_tokens}
    with torch.inference_mode():
        model.generate(**inputs, do_sample=False, **length)  # libraries get their workspaces
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        out = model.generate(**inputs, do_sample=False, return_dict_in_generate=True, **length)
        torch.cuda.synchronize(device)
    cache = cache_bytes(out.past_key_values)
    peak = torch.cuda.max_memory_allocated(device) - before
    return _memory("measured", weights, cache, max(peak - cache, 0))


def kv_cache_bytes(model: Any, adapter: VLMAdapter, tokens: int) -> int:
    """Bytes of the keys and values of `tokens` tokens, in the model's type, by its own widths."""
    shape = adapter.language_shape(model.config.to_dict())
    layers = model.get_submodule(adapter.layers)
    groups = sum(adapter.layer_shape(layer, shape).num_key_value_heads for layer in layers)
    return int(2 * groups * shape.head_dim * tokens * model.dtype.itemsize)


def cache_bytes(cache: Any) -> int:
    """Bytes of the keys and values that a transformers cache holds."""
    return sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))


def activation_bytes(ghost: Any, adapter: VLMAdapter, spec: EfficiencySpec) -> int:
    """Peak bytes of live tensors in the prefill of a copy on meta (`on_meta(model, "sdpa")`)."""
    peak, left = tower_bytes(ghost, adapter)
    tokens = image_tokens(ghost, adapter) + spec.prompt_tokens
    return max(peak, left + decoder_bytes(ghost, tokens))


def tower_bytes(ghost: Any, adapter: VLMAdapter) -> tuple[int, int]:
    """(peak, what stays) of encoding an image; it stays until the prompt has been read."""
    live = LiveBytes()
    with torch.no_grad(), FusedAttention(), live:
        inputs = image_inputs(ghost, adapter)
        features = ghost.get_image_features(**inputs, return_dict=True).pooler_output
    left = live.live
    del features
    return live.peak, left


def decoder_bytes(ghost: Any, tokens: int) -> int:
    """Peak of reading a prompt of so many tokens, the embedded prompt included."""
    prompt = embedded_prompt(ghost, tokens)
    live = LiveBytes()
    with torch.no_grad(), FusedAttention(), live:
        ghost(**prompt, use_cache=False, logits_to_keep=1)
    return prompt["inputs_embeds"].nbytes + live.peak


def _memory(how: Any, weights: int, cache: int, activations: int) -> InferenceMemory:
    return InferenceMemory(
        how=how,
        weights_mib=weights / MIB,
        kv_cache_mib=cache / MIB,
        activations_mib=activations / MIB,
        total_mib=(weights + cache + activations) / MIB,
    )
