"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL (`Qwen*ForConditionalGeneration`)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from trainables.models.families.adapter import NaturalImage, VLMAdapter
from trainables.models.families.backbones import QWEN2_5_VL, QWEN2_VL, QWEN3_VL, TextBackbone

# These towers take any size; work is stated for a square of 448 pixels, as near as patches allow.
PIXELS = 448

QWEN2_VISION_DEFAULTS: dict[str, int] = {
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "in_channels": 3,
}
QWEN3_VISION_DEFAULTS: dict[str, int] = {**QWEN2_VISION_DEFAULTS, "patch_size": 16}
DEEPSTACK_DEFAULT = (8, 16, 24)  # layers of the vision tower, not of the language model


def _image(defaults: Mapping[str, int], config: Mapping[str, Any]) -> NaturalImage:
    """An image of `PIXELS` squared, in patches that are merged into tokens."""
    vision = {**defaults, **(config.get("vision_config") or {})}
    patch, merge = vision["patch_size"], vision["spatial_merge_size"]
    side = round(PIXELS / (patch * merge))
    return NaturalImage(
        pixel_values=(
            (side * merge) ** 2,
            vision["in_channels"] * vision["temporal_patch_size"] * patch**2,
        ),
        tokens=side**2,
        arguments={"image_grid_thw": ((1, side * merge, side * merge),)},
    )


def _deepstack(config: Mapping[str, Any]) -> int:
    """One of the first decoder layers for every tapped layer of the vision tower."""
    vision = config.get("vision_config") or {}
    return len(vision.get("deepstack_visual_indexes", DEEPSTACK_DEFAULT))


def _adapter(name: str, kind: str, backbone: TextBackbone, **others: Any) -> VLMAdapter:
    return VLMAdapter(
        name=name,
        model_type=backbone.model_type.removesuffix("_text"),
        model_class=f"{kind}ForConditionalGeneration",
        backbone=backbone,
        vision_tower="model.visual",
        projector="model.visual.merger",
        image_token=("image_token_id", 151655),
        image_inputs={"pixel_values": "concat", "image_grid_thw": "concat"},
        token_types="mm_token_type_ids",
        **others,
    )


_QWEN2: dict[str, Any] = {
    "natural_image": partial(_image, QWEN2_VISION_DEFAULTS),
    "tied_by_text": True,
    "flat": True,
}
ADAPTERS = (
    _adapter("qwen2-vl", "Qwen2VL", QWEN2_VL, **_QWEN2),
    _adapter("qwen2.5-vl", "Qwen2_5_VL", QWEN2_5_VL, **_QWEN2),
    _adapter(
        "qwen3-vl",
        "Qwen3VL",
        QWEN3_VL,
        natural_image=partial(_image, QWEN3_VISION_DEFAULTS),
        anchored=_deepstack,
    ),
)
