"""Size and work of a model: parameters, weight memory, FLOPs of one image and a prompt."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

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
        tflops=forward_flops(model, spec.prompt_tokens) / 1e12,
    )


def language_params(model: nn.Module, adapter: VLMAdapter) -> int:
    """Parameters of the language model, embeddings and head included (tied ones once)."""
    parts = [model.get_submodule(path) for path in (adapter.language_model, adapter.lm_head)]
    unique = {id(p): p.numel() for part in parts for p in part.parameters()}
    return sum(unique.values())


def forward_flops(model: nn.Module, prompt_tokens: int) -> int:
    """FLOPs of a forward pass of one image and a prompt, 2 per multiply-add, on the meta device."""
    ghost = on_meta(model)
    config = ghost.config
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features = _image_features(ghost)
        tokens = features.shape[-2] + prompt_tokens
        embeds = torch.empty(
            1, tokens, config.get_text_config().hidden_size, device="meta", dtype=ghost.dtype
        )
        # With a mask given, transformers does not look into the positions for packed sequences.
        mask = torch.ones(1, tokens, device="meta", dtype=torch.long)
        ghost(inputs_embeds=embeds, attention_mask=mask, use_cache=False)
    return int(counter.get_total_flops())


def image_flops(model: nn.Module, adapter: VLMAdapter) -> tuple[int, int]:
    """FLOPs of one image in the vision tower and in the projector (V and 2 P n of `flops`)."""
    ghost = on_meta(model)
    seen: list[int] = []
    with torch.no_grad(), FlopCounterMode(display=False) as counter:

        def note(*_: Any) -> None:
            seen.append(int(counter.get_total_flops()))

        projector = ghost.get_submodule(adapter.projector)
        projector.register_forward_pre_hook(note)
        projector.register_forward_hook(note)
        _image_features(ghost)
    before, after = seen
    return int(counter.get_total_flops()) - (after - before), after - before


def image_tokens(model: nn.Module) -> int:
    """Tokens that one image takes in the prompt."""
    with torch.no_grad():
        return int(_image_features(on_meta(model)).shape[-2])


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


def _image_features(ghost: Any) -> torch.Tensor:
    """Projected features [n, H] of one image of the vision tower's own size, on meta."""
    vision = ghost.config.vision_config
    size = vision.image_size
    height, width = (size, size) if isinstance(size, int) else size
    pixels = torch.empty(1, 3, height, width, device="meta", dtype=ghost.dtype)
    output = ghost.get_image_features(pixel_values=pixels, return_dict=True)
    features: torch.Tensor = output.pooler_output[0]
    return features
