"""InternVL in the layout of transformers (`InternVLForConditionalGeneration`)."""

from collections.abc import Mapping
from typing import Any

from trainables.models.families.adapter import NaturalImage, VLMAdapter
from trainables.models.families.backbones import LLAMA, MISTRAL, PHI3, QWEN2, QWEN3

VISION_DEFAULTS: dict[str, Any] = {"image_size": (448, 448), "patch_size": (14, 14)}


def _side(size: int | list[int] | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else size[0]


def _image(config: Mapping[str, Any]) -> NaturalImage:
    """One tile of the vision tower's own size; pixel shuffle merges its patches."""
    vision = {**VISION_DEFAULTS, **(config.get("vision_config") or {})}
    pixels, patch = _side(vision["image_size"]), _side(vision["patch_size"])
    side = int(pixels // patch * config.get("downsample_ratio", 0.5))
    return NaturalImage((1, 3, pixels, pixels), side**2)


ADAPTERS = tuple(
    VLMAdapter(
        name=f"internvl-{backbone.model_type}",
        model_type="internvl",
        model_class="InternVLForConditionalGeneration",
        backbone=backbone,
        natural_image=_image,
        image_token=("image_token_id", 151667),
        image_inputs={"pixel_values": "concat"},
        replays_vision=True,
        tied=True,
    )
    for backbone in (QWEN2, QWEN3, LLAMA, MISTRAL, PHI3)
)
