"""Idefics3 and SmolVLM, the same architecture under two names, with a Llama backbone.

A Mistral backbone is what a Llama becomes when heads are removed.
"""

from collections.abc import Mapping
from typing import Any

from trainables.models.families.adapter import NaturalImage, VLMAdapter
from trainables.models.families.backbones import LLAMA, MISTRAL

VISION_DEFAULTS: dict[str, int] = {"image_size": 224, "patch_size": 32}


def _image(config: Mapping[str, Any]) -> NaturalImage:
    """One frame of the vision tower's own size; pixel shuffle merges its patches."""
    vision = {**VISION_DEFAULTS, **(config.get("vision_config") or {})}
    pixels = vision["image_size"]
    side = pixels // vision["patch_size"]
    return NaturalImage(
        pixel_values=(1, 1, 3, pixels, pixels),
        tokens=side**2 // config.get("scale_factor", 2) ** 2,
    )


ADAPTERS = tuple(
    VLMAdapter(
        name=model_type + suffix,
        model_type=model_type,
        model_class=f"{brand}ForConditionalGeneration",
        backbone=backbone,
        language_model="model.text_model",
        vision_tower="model.vision_model",
        projector="model.connector",
        natural_image=_image,
        image_token=("image_token_id", 128257),
        image_inputs={"pixel_values": "pad", "pixel_attention_mask": "pad"},  # samples x frames
        replays_vision=True,
    )
    for model_type, brand in (("idefics3", "Idefics3"), ("smolvlm", "SmolVLM"))
    for suffix, backbone in (("", LLAMA), ("-mistral", MISTRAL))
)
