"""Counts what pruning the language model leaves alone: vision tower and projector.

`python -m trainables.efficiency.image_cost` reads a JSON list of configs and answers with one
object each, so that the driver, which has no torch, can ask. No weights are read or made.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import nn

from trainables.efficiency.measure import image_flops, language_params
from trainables.efficiency.prompt import image_tokens
from trainables.models.families.adapter import VLMAdapter
from trainables.models.families.registry import adapter_for
from trainables.models.unpruned import (
    Unpruned,
)
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


def outside_of_config(config: Mapping[str, Any]) -> Unpruned:
    """The same for a `config.json`, on the meta device."""
    adapter = adapter_for(config)
    kind = getattr(transformers, adapter.model_class)
    parsed = kind.config_class.from_dict(copy.deepcopy(dict(config)))
    parsed.get_text_config().num_hidden_layers = 1  # the language model is not counted here
    with torch.device("meta"):
        model = kind(parsed)
    return outside_of(model.eval(), adapter, EfficiencySpec(), "float32")


def main() -> None:
    """Answer the configs on stdin."""
    found = [outside_of_config(config) for config in json.load(sys.stdin)]
    json.dump([outside.model_dump() for outside in found], sys.stdout)


if __name__ == "__main__":
    main()
