"""Size and work of a model: parameters, weight memory, FLOPs of one image and a prompt.

Work is stated for one image of the family's own size (`VLMAdapter.natural_image`), and counted on
the meta device, so that a model of any size takes a second and no memory.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from trainables.evaluation.equal_layers import count_equal_layers_once
from trainables.evaluation.flop_counter import FlopCounter
from trainables.models.adapter import VLMAdapter
from trainables.records import EfficiencyReport
from trainables.specs import DTYPE_BYTES, EfficiencySpec


def measure(
    model: nn.Module, adapter: VLMAdapter, spec: EfficiencySpec, dtype: str
) -> EfficiencyReport:
    """Parameters, weight memory and FLOPs; latency is measured apart, when the machine is quiet.

    `tflops` is one forward pass of one image and `spec.prompt_tokens` text tokens, logits at every
    position; the image's own tokens come on top of the prompt's.

    Args:
        model: a Hugging Face vision-language model, LoRA merged; not changed, not run.
        adapter: table of its architecture.
        spec: what the figures are for.
        dtype: dtype of the stored weights, which `weights_mib` is for.
    """
    params = sum(p.numel() for p in model.parameters())
    return EfficiencyReport(
        params=params,
        lm_params=language_params(model, adapter),
        weights_mib=params * DTYPE_BYTES[dtype] / 2**20,
        tflops=forward_flops(model, adapter, spec.prompt_tokens) / 1e12,
    )


def language_params(model: nn.Module, adapter: VLMAdapter) -> int:
    """Parameters of the language model, embeddings and head included (tied ones once)."""
    parts = [model.get_submodule(path) for path in (adapter.language_model, adapter.lm_head)]
    unique = {id(p): p.numel() for part in parts for p in part.parameters()}
    return sum(unique.values())


def forward_flops(model: nn.Module, adapter: VLMAdapter, prompt_tokens: int) -> int:
    """FLOPs of a forward pass of one image and a prompt, 2 per multiply-add."""
    ghost = on_meta(model)
    tokens = image_tokens(model, adapter) + prompt_tokens
    width = ghost.config.get_text_config().hidden_size
    embeds = torch.empty(1, tokens, width, device="meta", dtype=ghost.dtype)
    # With a mask given, transformers does not look into the positions for packed sequences.
    mask = torch.ones(1, tokens, device="meta", dtype=torch.long)
    counter = FlopCounter()
    count_equal_layers_once(ghost.get_submodule(adapter.language_model), counter)
    with torch.no_grad(), counter:
        ghost(inputs_embeds=embeds, attention_mask=mask, use_cache=False)
    return counter.flops + sum(_image_flops(ghost, adapter))


def image_flops(model: nn.Module, adapter: VLMAdapter) -> tuple[int, int]:
    """FLOPs of one image in the vision tower and in the projector (V and 2 P n of `flops`)."""
    return _image_flops(on_meta(model), adapter)


def image_tokens(model: Any, adapter: VLMAdapter) -> int:
    """Tokens that one image takes in the prompt."""
    return adapter.natural_image(model.config.to_dict()).tokens


def image_inputs(model: Any, adapter: VLMAdapter) -> dict[str, torch.Tensor]:
    """One grey image of the family's own size, as the model's forward takes it, on the CPU."""
    image = adapter.natural_image(model.config.to_dict())
    pixels = torch.ones(image.pixel_values, dtype=model.dtype)  # all 0 would pass for padding
    others = {name: torch.tensor(values) for name, values in image.arguments.items()}
    return {"pixel_values": pixels, **others}


def on_meta(model: nn.Module) -> Any:
    """A copy of the model without data: any pruned shape, no memory, plain (countable) attention.

    A copy rather than a model built from the config, because no config knows per-layer widths.
    """
    ghosts: dict[int, Any] = {}
    for parameter in model.parameters():
        ghosts[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
    for buffer in model.buffers():
        ghosts[id(buffer)] = torch.empty_like(buffer, device="meta")
    ghost: Any = copy.deepcopy(model, ghosts)
    # Fused kernels are counted differently, or not at all, from one torch version to the next.
    ghost.set_attn_implementation("eager")
    return ghost.eval()


def _image_flops(ghost: Any, adapter: VLMAdapter) -> tuple[int, int]:
    """The same, of a copy on meta that is thrown away afterwards."""
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
