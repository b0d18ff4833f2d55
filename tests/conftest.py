"""Tiny random models and batches that tests of every room share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

IMAGE_TOKEN, IMAGE_TOKENS = 63, 4


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Sums in the same order on every machine, and no fight for the cores of a small one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_llava() -> Callable[..., Any]:
    """A function that builds a random LLaVA with a Llama backbone (8 heads, width 32)."""

    def make(
        kv_heads: int = 8,
        layers: int = 4,
        tied: bool = False,
        neurons: int = 48,
        seed: int = 0,
    ) -> Any:
        import torch
        from transformers import (
            CLIPVisionConfig,
            LlamaConfig,
            LlavaConfig,
            LlavaForConditionalGeneration,
        )

        text = LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=neurons,
            num_hidden_layers=layers,
            num_attention_heads=8,
            num_key_value_heads=kv_heads,
            max_position_embeddings=128,
            tie_word_embeddings=tied,
            initializer_range=0.2,  # far from linear, so that a wrong slice shows
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
        vision = CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=8,
            patch_size=4,
            projection_dim=16,
        )
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

    return make


@pytest.fixture(
    params=[{}, {"kv_heads": 4}, {"kv_heads": 2, "tied": True}], ids=["mha", "gqa4", "gqa2-tied"]
)
def llava(request: pytest.FixtureRequest, make_llava: Callable[..., Any]) -> Any:
    """A tiny random LLaVA: one KV head per query head, shared KV heads, tied embeddings."""
    return make_llava(**request.param)


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Any]]:
    """A function that makes a random batch: one image each, padded right, ragged responses."""

    def make(samples: int = 3, tokens: int = 14, seed: int = 1) -> dict[str, Any]:
        import torch

        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(3, IMAGE_TOKEN, (samples, tokens), generator=generator)
        ids[:, 0] = 1
        ids[:, 1 : 1 + IMAGE_TOKENS] = IMAGE_TOKEN
        mask = torch.ones_like(ids)
        labels = ids.clone()
        for row in range(samples):
            labels[row, : 7 + row % 3] = -100
            mask[row, tokens - row % 4 :] = 0
        labels[mask == 0] = -100
        ids[mask == 0] = 0
        pixels = torch.randn(samples, 3, 8, 8, generator=generator)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "labels": labels,
            "pixel_values": pixels,
        }

    return make


@pytest.fixture
def batch(make_batch: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A random batch of three samples for the tiny random models."""
    return make_batch()
