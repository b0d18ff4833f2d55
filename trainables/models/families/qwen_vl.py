"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL (`Qwen*ForConditionalGeneration`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainables.models.families.adapter import NaturalImage, VLMAdapter
from trainables.models.families.backbones import QWEN2_5_VL, QWEN2_VL, QWEN3_VL

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


def _image(defaults: Mapping[str, int]) -> Callable[[Mapping[str, Any]], NaturalImage]:
    """Reads an image of `PIXELS` squared, in patches that are merged into tokens."""

    def read(config: Mapping[str, Any]) -> NaturalImage:
        vision = {**defaults, **(config.get("vision_config") or {})}
        patch, merge = vision["patch_size"], vision["spatial_merge_size"]
        side = round(PIXELS / (patch * merge))
        values = vision["in_channels"] * vision["temporal_patch_size"] * patch**2
        return NaturalImage(
            pixel_values=((side * merge) ** 2, values),
            tokens=side**2,
            arguments={"image_grid_thw": ((1, side * merge, side * merge),)},
        )

    return read


def _deepstack(config: Mapping[str, Any]) -> int:
    """One of the first decoder layers for every tapped layer of the vision tower."""
    vision = config.get("vision_config") or {}
    return len(vision.get("deepstack_visual_indexes", DEEPSTACK_DEFAULT))


_PARTS: dict[str, Any] = {
    "language_model": "model.language_model",
    "vision_tower": "model.visual",
    "projector": "model.visual.merger",
    "image_token": ("image_token_id", 151655),
    "image_inputs": {"pixel_values": "concat", "image_grid_thw": "concat"},
    "token_types": "mm_token_type_ids",
}

QWEN2_VL_ADAPTER = VLMAdapter(
    name="qwen2-vl",
    model_type="qwen2_vl",
    model_class="Qwen2VLForConditionalGeneration",
    backbone=QWEN2_VL,
    read_image=_image(QWEN2_VISION_DEFAULTS),
    tied_by_text=True,
    flat=True,
    **_PARTS,
)
QWEN2_5_VL_ADAPTER = VLMAdapter(
    name="qwen2.5-vl",
    model_type="qwen2_5_vl",
    model_class="Qwen2_5_VLForConditionalGeneration",
    backbone=QWEN2_5_VL,
    read_image=_image(QWEN2_VISION_DEFAULTS),
    tied_by_text=True,
    flat=True,
    **_PARTS,
)
QWEN3_VL_ADAPTER = VLMAdapter(
    name="qwen3-vl",
    model_type="qwen3_vl",
    model_class="Qwen3VLForConditionalGeneration",
    backbone=QWEN3_VL,
    read_image=_image(QWEN3_VISION_DEFAULTS),
    read_anchored=_deepstack,
    **_PARTS,
)
