"""LLaVA-1.5 (`LlavaForConditionalGeneration`): a Llama or Mistral, or Phi-2 (Bunny) backbone."""

from collections.abc import Mapping
from typing import Any

from trainables.models.families.adapter import NaturalImage, VLMAdapter
from trainables.models.families.backbones import LLAMA, MISTRAL, PHI

# What transformers assumes for absent keys, by the vision tower's `model_type`; a CLIP tower has a
# class token before its patches. Without any vision_config LLaVA has CLIP-L at 336 pixels.
VISION_DEFAULTS: dict[str, dict[str, Any]] = {
    "clip_vision_model": {"image_size": 224, "patch_size": 32},
    "siglip_vision_model": {"image_size": 224, "patch_size": 16},
}
_WHOLE: dict[str, Any] = {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14}


def square_features(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """(pixels of a side, patches of a side, features of one square) of a LLaVA's vision tower."""
    vision, kind = _vision(config)
    side = vision["image_size"] // vision["patch_size"]
    features = side**2 + (1 if kind == "clip_vision_model" else 0)
    if config.get("vision_feature_select_strategy", "default") == "default":
        features -= 1
    return vision["image_size"], side, features


def processor_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the processor of a LLaVA counts an image's tokens by (`VLMAdapter`)."""
    vision, kind = _vision(config)
    return {
        "patch_size": vision["patch_size"],
        "vision_feature_select_strategy": config.get("vision_feature_select_strategy", "default"),
        "num_additional_image_tokens": int(kind == "clip_vision_model"),
    }


def _vision(config: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The vision tower's config with its defaults, and its kind."""
    given: Mapping[str, Any] = config.get("vision_config") or _WHOLE
    kind = given.get("model_type", "clip_vision_model")
    return {**VISION_DEFAULTS[kind], **given}, kind


def _image(config: Mapping[str, Any]) -> NaturalImage:
    """One image of the vision tower's own size."""
    pixels, _, features = square_features(config)
    return NaturalImage((1, 3, pixels, pixels), features)


ADAPTERS = tuple(
    VLMAdapter(
        name=f"llava-{backbone.model_type}",
        model_type="llava",
        model_class="LlavaForConditionalGeneration",
        backbone=backbone,
        natural_image=_image,
        image_token=("image_token_index", 32000),
        image_inputs={"pixel_values": "concat"},
        fixed_image_tokens=True,
        replays_vision=True,
        tied_by_text=True,
        processor_settings=processor_settings,
    )
    for backbone in (LLAMA, MISTRAL, PHI)
)
LLAVA_LLAMA = ADAPTERS[0]
