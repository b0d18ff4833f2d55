"""The processor of an embedded LLaVA."""

from __future__ import annotations

from typing import Any


def llava_processor(tokenizer: Any, pixels: int, patch_pixels: int, chat_template: str) -> Any:
    """`LlavaProcessor`: CLIP preprocessing at the pictures' own size, of which nothing is cropped.

    Args:
        tokenizer: with `image_token`.
        pixels: of a side of a picture.
        patch_pixels: of a side of a patch of the vision tower, which has a class token besides.
        chat_template: Jinja.
    """
    from transformers import CLIPImageProcessor, LlavaProcessor

    images = CLIPImageProcessor(
        size={"shortest_edge": pixels}, crop_size={"height": pixels, "width": pixels}
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=patch_pixels,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template,
    )
