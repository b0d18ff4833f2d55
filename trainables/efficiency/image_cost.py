"""Counts what pruning the language model leaves alone: vision tower and projector."""

from __future__ import annotations

from torch import nn

from trainables.efficiency.measure import image_flops, language_params
from trainables.efficiency.prompt import image_tokens
from trainables.models.families.adapter import VLMAdapter
from trainables.models.unpruned import Unpruned
from trainables.specs import DTYPE_BYTES, EfficiencySpec


def outside_of(
    model: nn.Module, adapter: VLMAdapter, efficiency: EfficiencySpec, dtype: str
) -> Unpruned:
    """What of `model` its language model's size does not touch; the model is not run."""
    params = sum(parameter.numel() for parameter in model.parameters())
    return Unpruned(
        params=params - language_params(model, adapter),
        flops=float(sum(image_flops(model, adapter))),
        image_tokens=image_tokens(model, adapter),
        prompt_tokens=efficiency.prompt_tokens,
        bytes_per_weight=DTYPE_BYTES[dtype],
    )
