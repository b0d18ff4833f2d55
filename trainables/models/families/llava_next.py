"""LLaVA-NeXT, also called LLaVA-1.6 (`LlavaNextForConditionalGeneration`)."""

from collections.abc import Mapping
from typing import Any

from trainables.models.families.adapter import NaturalImage, VLMAdapter
from trainables.models.families.backbones import LLAMA, MISTRAL
from trainables.models.families.llava import processor_settings, square_features

PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))  # (height, width)


def _image(config: Mapping[str, Any]) -> NaturalImage:
    """A square of the vision tower's own size, cut into tiles as the processor would.

    The image is padded to the smallest of the resolutions, cut into tiles of the tower's size, and
    goes in as a whole besides. Its tokens: the whole image's features, and the tiles' features
    without the padding, with a newline token after each row.
    """
    pixels, side, features = square_features(config)
    pinpoints = config.get("image_grid_pinpoints") or PINPOINTS
    height, width = min(pinpoints, key=lambda size: size[0] * size[1])
    tiles = (height // pixels) * (width // pixels)
    rows = side * min(height, width) // pixels
    return NaturalImage(
        pixel_values=(1, 1 + tiles, 3, pixels, pixels),
        tokens=features + rows * (rows + 1),
        arguments={"image_sizes": ((pixels, pixels),)},
    )


ADAPTERS = tuple(
    VLMAdapter(
        name=f"llava-next-{backbone.model_type}",
        model_type="llava_next",
        model_class="LlavaNextForConditionalGeneration",
        backbone=backbone,
        natural_image=_image,
        image_token=("image_token_index", 32000),
        image_inputs={"pixel_values": "pad", "image_sizes": "concat"},  # images differ in tiles
        processor_settings=processor_settings,
    )
    for backbone in (LLAMA, MISTRAL)
)
