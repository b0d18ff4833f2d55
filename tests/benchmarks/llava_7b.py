"""LLaVA-v1.5-7B's shape with random weights, for the benchmarks that a GPU is for."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration

from trainables.models.families.registry import MODELS

NAME = "llava-hf/llava-1.5-7b-hf"


def random_llava(
    device: str, text: Mapping[str, int] | None = None, vision: Mapping[str, int] | None = None
) -> LlavaForConditionalGeneration:
    """The random model in bfloat16, frozen and in eval mode.

    Args:
        device: where it is built.
        text: other sizes of the language model, the vocabulary's among them.
        vision: other sizes of the vision tower.
    """
    plain: dict[str, Any] | None = copy.deepcopy(MODELS[NAME].config)
    assert plain is not None
    if text is not None:
        plain["text_config"] |= text
        plain["image_token_index"] = text["vocab_size"] - 1
    plain["vision_config"] |= vision or {}
    torch.manual_seed(0)
    with torch.device(device):
        model: LlavaForConditionalGeneration = LlavaForConditionalGeneration._from_config(
            LlavaConfig.from_dict(plain), dtype=torch.bfloat16
        )
    model.requires_grad_(False).eval()
    return model
