"""A tiny random model of every family, and a batch for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


def text_batch(
    samples: int, tokens: int, image_tokens: int, vocabulary: int, generator: Any
) -> dict[str, Any]:
    """Random ids with labels: one image each, padded right, ragged prompts and responses."""
    import torch

    ids = torch.randint(3, vocabulary, (samples, tokens), generator=generator)
    ids[:, 0] = 1
    ids[:, 1 : 1 + image_tokens] = IMAGE_TOKEN
    mask = torch.ones_like(ids)
    labels = ids.clone()
    for row in range(samples):
        labels[row, : image_tokens + 3 + row % 3] = -100
        mask[row, tokens - row % 4 :] = 0
    labels[mask == 0] = -100
    ids[mask == 0] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def family_batch(name: str, samples: int = 3, tokens: int = 20, seed: int = 1) -> dict[str, Any]:
    """A random batch of a family: one image each, padded right, ragged responses."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    image_tokens, image = _image_inputs(name, samples, generator)
    batch = text_batch(samples, tokens, image_tokens, 60, generator) | image
    if name.startswith("qwen"):
        batch["mm_token_type_ids"] = (batch["input_ids"] == IMAGE_TOKEN).int()
    return batch


FAMILIES: dict[str, Callable[..., Family]] = {
    name: functools.partial(build_family, name) for name in FAMILY_CONFIGS
}
