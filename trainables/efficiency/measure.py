"""Size and work of a model: parameters, weight memory, FLOPs of one image and a prompt.

Work is stated for one image of the family's own size (`VLMAdapter.natural_image`), and counted on
the meta device, so that a model of any size takes a second and no memory.
"""

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from trainables.efficiency.memory import activation_bytes, computed_memory
from trainables.efficiency.meta import FlopCounter, count_equal_layers_once, on_meta
from trainables.efficiency.prompt import embedded_prompt, image_inputs, image_tokens
from trainables.models.families.adapter import VLMAdapter
from trainables.models.unpruned import Unpruned
from trainables.records import EfficiencyReport, Parts
from trainables.specs import DTYPE_BYTES, MIB, EfficiencySpec


def measure(
    model: nn.Module, adapter: VLMAdapter, spec: EfficiencySpec, dtype: str
) -> EfficiencyReport:
    """Parameters by part, weight and inference memory, FLOPs of a model; nothing is run.

    `tflops` is one forward pass of one image and `spec.prompt_tokens` text tokens, logits at every
    position; the image's own tokens come on top of the prompt's. `memory` is computed: the closing
    pass measures it, as it does latency, where nothing else runs.

    Args:
        model: a Hugging Face vision-language model, LoRA merged; not changed, not run.
        adapter: table of its architecture.
        spec: what the figures are for.
        dtype: dtype of the stored weights, which `weights_mib` is for.
    """
    parts = count_parts(model, adapter)
    weights = stored_bytes(model, dtype)
    return EfficiencyReport(
        params=parts.vision + parts.projector + parts.language_model + parts.embeddings,
        lm_params=parts.language_model + parts.embeddings,
        weights_mib=weights / MIB,
        tflops=forward_flops(model, adapter, spec.prompt_tokens) / 1e12,
        parts=parts,
        memory=computed_memory(model, adapter, spec, weights, dtype),
    )


def count_parts(model: nn.Module, adapter: VLMAdapter) -> Parts:
    """Parameters by part; tied ones count once, as embeddings.

    What is learned between tower and language model beside the projector, such as the row that
    LLaVA-NeXT puts at the end of a line of patches, counts as projector.
    """
    places = (  # the first that fits: a projector may lie within the tower
        ("embeddings", (adapter.embed, adapter.lm_head)),
        ("language_model", (adapter.language_model,)),
        ("projector", (adapter.projector,)),
        ("vision", (adapter.vision_tower,)),
    )
    counts = dict.fromkeys(("vision", "projector", "language_model", "embeddings"), 0)
    for name, parameter in model.named_parameters():  # tied ones come once
        found = (
            part for part, paths in places if any(name.startswith(f"{path}.") for path in paths)
        )
        counts[next(found, "projector")] += parameter.numel()
    return Parts(**counts)


def stored_bytes(model: nn.Module, dtype: str | None = None) -> int:
    """Bytes of everything that a checkpoint of the model holds, tensors that are shared once.

    Those are parameters, persistent buffers, and the scales and tables of quantized weights, which
    bitsandbytes puts into the state dict and torchao into the weight itself.

    Args:
        model: quantized or not.
        dtype: type that plain floating-point parameters are stored in, whatever they are computed
            in; None is their own.
    """
    held = model.state_dict(keep_vars=True).values()  # the tensors themselves: ids tell sharing
    sizes = {id(value): _size(value, dtype) for value in held if isinstance(value, torch.Tensor)}
    return sum(sizes.values())


def forward_flops(model: nn.Module, adapter: VLMAdapter, prompt_tokens: int) -> int:
    """FLOPs of a forward pass of one image and a prompt, 2 per multiply-add."""
    ghost = on_meta(model)
    tokens = image_tokens(model, adapter) + prompt_tokens
    counter = FlopCounter()
    count_equal_layers_once(ghost.get_submodule(adapter.language_model), counter)
    with torch.no_grad(), counter:
        ghost(**embedded_prompt(ghost, tokens), use_cache=False)
    return counter.flops + sum(image_flops(model, adapter))


def image_flops(model: nn.Module, adapter: VLMAdapter) -> tuple[int, int]:
    """FLOPs of one image in the vision tower and in the projector (V and 2 P n of `work`)."""
    ghost = on_meta(model)
    seen: list[int] = []
    projector = ghost.get_submodule(adapter.projector)
    counter = FlopCounter()
    count_equal_layers_once(ghost.get_submodule(adapter.vision_tower), counter)
    projector.register_forward_pre_hook(lambda *_: seen.append(counter.flops))
    projector.register_forward_hook(lambda *_: seen.append(counter.flops))
    with torch.no_grad(), counter:
        ghost.get_image_features(**image_inputs(ghost, adapter), return_dict=True)
    before, after = seen
    return counter.flops - (after - before), after - before


def unpruned_parts(
    model: nn.Module,
    adapter: VLMAdapter,
    efficiency: EfficiencySpec,
    dtype: str,
    *,
    activations: bool = False,
) -> Unpruned:
    """What of `model` its language model's size does not touch; the model is not run.

    Args:
        model: the dense model.
        adapter: table of its architecture.
        efficiency: lengths of the prompt and of what is generated.
        dtype: type that it is stored and computed in.
        activations: count those of the dense model too.
    """
    parts = count_parts(model, adapter)
    peak = None
    if activations:
        ghost = on_meta(model, "sdpa").to(getattr(torch, dtype))
        peak = activation_bytes(ghost, adapter, efficiency)
    return Unpruned(
        params=parts.vision + parts.projector,
        flops=float(sum(image_flops(model, adapter))),
        image_tokens=image_tokens(model, adapter),
        prompt_tokens=efficiency.prompt_tokens,
        new_tokens=efficiency.new_tokens,
        bytes_per_weight=DTYPE_BYTES[dtype],
        activations=peak,
    )


def _size(tensor: Any, dtype: str | None) -> int:
    if is_traceable_wrapper_subclass(tensor):  # torchao's, made of several tensors
        return sum(_size(getattr(tensor, name), None) for name in tensor.__tensor_flatten__()[0])
    if dtype is not None and isinstance(tensor, nn.Parameter) and tensor.is_floating_point():
        return int(tensor.numel() * DTYPE_BYTES[dtype])
    return int(tensor.numel() * tensor.element_size())
