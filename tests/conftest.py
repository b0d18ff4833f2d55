"""Tiny random models and batches that tests of every room share."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trainables.models.families.adapter import VLMAdapter

IMAGE_TOKEN, IMAGE_TOKENS = 63, 4

TEXT: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,  # far from linear, so that a wrong slice shows
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_SQUARE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
CLIP = _SQUARE | {
    "model_type": "clip_vision_model",
    "intermediate_size": 32,
    "image_size": 8,
    "patch_size": 4,
    "projection_dim": 16,
}
SIGLIP = CLIP | {"model_type": "siglip_vision_model", "vision_use_head": False}
INTERNVIT = _SQUARE | {"intermediate_size": 32, "image_size": 8, "patch_size": 2}
FRAME = _SQUARE | {"intermediate_size": 32, "image_size": 16, "patch_size": 4}
_PATCHES = {"depth": 2, "num_heads": 2, "patch_size": 4, "hidden_act": "silu"}
_MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
_LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0, 1.5],
    "long_factor": [1.0, 4.0],
    "original_max_position_embeddings": 8,  # samples are longer: the long factors count
}


def _image(text: dict[str, Any], vision: dict[str, Any], **others: Any) -> dict[str, Any]:
    """A config whose image token has the id `IMAGE_TOKEN` under either of its names."""
    ids = {"image_token_id": IMAGE_TOKEN, "tie_word_embeddings": False}
    return ids | {"text_config": TEXT | text, "vision_config": dict(vision)} | others


def _llava(text: dict[str, Any], vision: dict[str, Any] = CLIP, **others: Any) -> dict[str, Any]:
    return _image(text, vision, vision_feature_layer=-1, image_seq_length=IMAGE_TOKENS, **others)


def _qwen(text: dict[str, Any], vision: dict[str, Any], **others: Any) -> dict[str, Any]:
    ids = {"video_token_id": 62, "vision_start_token_id": 61, "vision_end_token_id": 60}
    rope = {"num_attention_heads": 4, "num_key_value_heads": 2, "rope_parameters": _MROPE}
    return _image(rope | text, _PATCHES | vision, **ids, **others)


# Family -> config. The families differ in grouped heads, tied embeddings and free head sizes too.
FAMILY_CONFIGS: dict[str, dict[str, Any]] = {
    "llava-llama": _llava({"model_type": "llama"}),
    "llava-mistral": _llava({"model_type": "mistral", "head_dim": 6, "num_key_value_heads": 2}),
    "llava-phi": _llava(
        {"model_type": "phi", "num_key_value_heads": 8, "partial_rotary_factor": 0.5},
        SIGLIP,
        vision_feature_select_strategy="full",
    ),
    "llava-next-llama": _llava(
        {"model_type": "llama", "num_key_value_heads": 8},
        image_grid_pinpoints=[[8, 16], [16, 8], [16, 16]],
    ),
    "llava-next-mistral": _llava(
        {"model_type": "mistral"}, image_grid_pinpoints=[[8, 16], [16, 8], [16, 16]]
    ),
    "qwen2-vl": _qwen({}, {"embed_dim": 16, "hidden_size": 32}, tie_word_embeddings=True),
    "qwen2.5-vl": _qwen(
        {},
        {
            "hidden_size": 16,
            "intermediate_size": 32,
            "out_hidden_size": 32,
            "window_size": 8,
            "fullatt_block_indexes": [1],
        },
    ),
    "qwen3-vl": _qwen(
        {"head_dim": 8},
        {
            "hidden_size": 16,
            "intermediate_size": 32,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
    ),
    "internvl-qwen2": _image({"model_type": "qwen2"}, INTERNVIT),
    "internvl-qwen3": _image({"model_type": "qwen3", "head_dim": 6}, INTERNVIT),
    "internvl-llama": _image({"model_type": "llama"}, INTERNVIT),
    "internvl-phi3": _image(
        {"model_type": "phi3", "num_key_value_heads": 8, "rope_parameters": _LONG_ROPE}, INTERNVIT
    ),
    "idefics3": _image({"model_type": "llama"}, FRAME),
    "smolvlm": _image({"model_type": "llama"}, FRAME, tie_word_embeddings=True),
}


@dataclass(frozen=True, eq=False)
class Family:
    """A tiny random model of one family: eval mode, float32, no gradients, and a batch for it.

    `config` is the model's own, as a dict. Biases and norms are random too.
    """

    name: str
    model: Any
    adapter: VLMAdapter
    batch: dict[str, Any]
    config: dict[str, Any]


def build_family(
    name: str, seed: int = 0, text: Mapping[str, Any] | None = None, samples: int = 3
) -> Family:
    """A new tiny model of `name`; `text` changes its text config."""
    import torch
    import transformers

    from trainables.models.families.registry import ADAPTERS

    adapter = ADAPTERS[name]
    kind = getattr(transformers, adapter.model_class)
    config = FAMILY_CONFIGS[name]
    config = config | {
        "model_type": adapter.model_type,
        "text_config": config["text_config"] | dict(text or {}),
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(kind.config_class.from_dict(config)).eval().requires_grad_(False)
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return Family(name, model, adapter, family_batch(name, samples), model.config.to_dict())


def _image_inputs(name: str, samples: int, generator: Any) -> tuple[int, dict[str, Any]]:
    """Tokens of one image, and the tensors of one image per sample."""
    import torch

    def pixels(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator)

    if name.startswith("llava-next"):  # the whole image, and two tiles of which one is padding
        sizes = torch.tensor([[8, 8]] * samples)
        return 4 + 2 * 3, {"pixel_values": pixels(samples, 3, 3, 8, 8), "image_sizes": sizes}
    if name.startswith("qwen"):  # 4 x 4 patches of 3 channels, 2 frames, 4 x 4 pixels
        grid = torch.tensor([[1, 4, 4]] * samples)
        return 4, {"pixel_values": pixels(samples * 16, 3 * 2 * 16), "image_grid_thw": grid}
    if name in ("idefics3", "smolvlm"):
        mask = torch.ones(samples, 1, 16, 16, dtype=torch.long)
        return 4, {"pixel_values": pixels(samples, 1, 3, 16, 16), "pixel_attention_mask": mask}
    return 4, {"pixel_values": pixels(samples, 3, 8, 8)}


def family_batch(name: str, samples: int = 3, tokens: int = 20, seed: int = 1) -> dict[str, Any]:
    """A random batch with labels: one image each, padded right, ragged prompts and responses."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    image_tokens, image = _image_inputs(name, samples, generator)
    ids = torch.randint(3, 60, (samples, tokens), generator=generator)
    ids[:, 0] = 1
    ids[:, 1 : 1 + image_tokens] = IMAGE_TOKEN
    mask = torch.ones_like(ids)
    labels = ids.clone()
    for row in range(samples):
        labels[row, : image_tokens + 3 + row % 3] = -100
        mask[row, tokens - row % 4 :] = 0
    labels[mask == 0] = -100
    ids[mask == 0] = 0
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels} | image
    if name.startswith("qwen"):
        batch["mm_token_type_ids"] = (ids == IMAGE_TOKEN).int()
    return batch


FAMILIES: dict[str, Callable[..., Family]] = {
    name: functools.partial(build_family, name) for name in FAMILY_CONFIGS
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    """A tiny random model of each family in turn."""
    return FAMILIES[request.param]()


@pytest.fixture(scope="session")
def families() -> dict[str, Callable[..., Family]]:
    """Family name -> function that builds a new tiny model (`seed`, `text`, `samples`)."""
    return FAMILIES


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Sums in the same order on every machine, and no fight for the cores of a small one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _own_datasets_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of its own for `datasets`, which also holds the tables of conversations."""
    folder = tmp_path_factory.mktemp("datasets")
    before = os.environ.get("HF_DATASETS_CACHE")
    os.environ["HF_DATASETS_CACHE"] = str(folder)
    if "datasets" in sys.modules:  # has read the variable when it was imported
        sys.modules["datasets"].config.HF_DATASETS_CACHE = folder
    yield folder
    if before is None:
        del os.environ["HF_DATASETS_CACHE"]
    else:
        os.environ["HF_DATASETS_CACHE"] = before


@pytest.fixture
def make_llava() -> Callable[..., Any]:
    """A function that builds a random LLaVA with a Llama backbone (8 heads, width 32)."""

    def make(
        kv_heads: int = 8,
        layers: int = 4,
        tied: bool = False,
        neurons: int = 48,
        seed: int = 0,
        width: int = 32,
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
            hidden_size=width,
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes, the tests of a file share one, and all that start Ray share one."""
    for item in items:
        ray = "integration" in item.path.parts
        item.add_marker(pytest.mark.xdist_group("ray" if ray else str(item.path)))
