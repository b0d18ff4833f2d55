"""A tiny random LLaVA of chosen sizes, and a batch for it."""

from __future__ import annotations

from typing import Any

from helpers.family_models import CLIP, IMAGE_TOKEN, IMAGE_TOKENS, TEXT, text_batch


def make_llava(
    kv_heads: int = 8,
    layers: int = 4,
    tied: bool = False,
    neurons: int = 48,
    seed: int = 0,
    width: int = 32,
) -> Any:
    """A random LLaVA with a Llama backbone (8 heads, width 32)."""
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    sizes = {"hidden_size": width, "intermediate_size": neurons, "num_hidden_layers": layers}
    heads = {"num_key_value_heads": kv_heads, "tie_word_embeddings": tied}
    text = LlamaConfig(**(TEXT | sizes | heads))
    vision = CLIPVisionConfig.from_dict(CLIP)
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE_TOKEN,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlavaForConditionalGeneration(config).eval().requires_grad_(False)


def make_batch(samples: int = 3, tokens: int = 14, seed: int = 1) -> dict[str, Any]:
    """A random batch: one image each, padded right, ragged responses."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    text = text_batch(samples, tokens, IMAGE_TOKENS, IMAGE_TOKEN, generator)
    return text | {"pixel_values": torch.randn(samples, 3, 8, 8, generator=generator)}
