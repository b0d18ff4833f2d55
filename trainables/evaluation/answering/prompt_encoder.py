"""Questions about images as inputs of `generate`; every distinct image is encoded once.

Shapes: B questions, T tokens (text and image tokens together), H hidden size, N tokens per image.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from trainables.common.pictures import as_seen
from trainables.models.collation import (
    Batch,
    encode,
    image_batch,
    move,
    starts_with_bos,
    text_batch,
)
from trainables.models.families.registry import adapter_for

FEATURE_CACHE_BYTES = 2**30
IMAGE_MARK = "<image>"  # that some tasks write into their questions, whatever the model


class PromptEncoder:
    """Turns questions into inputs of `generate`; remembers prompts' wrapping and image features."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model
        self.processor = processor
        config = model.config.to_dict()
        self.adapter = adapter_for(config)
        self.image_token = self.adapter.image_token_id(config)
        # Each distinct image is encoded once, however many questions show it, where projected
        # features just take the places of the image tokens and every image has as many of them.
        # Every other family gets the processor's own inputs.
        self.shares = self.adapter.replays_vision and self.adapter.fixed_image_tokens
        self._wraps: dict[int, tuple[str, str]] = {}
        self._features: OrderedDict[bytes, torch.Tensor] = OrderedDict()
        self._feature_bytes = 0

    def __call__(self, texts: Sequence[str], shown: Sequence[Sequence[Any]]) -> Batch:
        """Left-padded inputs of one batch: a question's text and its images each."""
        shown = [[as_seen(image) for image in images] for images in shown]
        prompts = [self._prompt(text, len(s)) for text, s in zip(texts, shown, strict=True)]
        return (self._embedded if self.shares else self._processed)(prompts, shown)

    def forget_images(self) -> None:
        """Free the features that are kept (their memory is needed)."""
        self._features.clear()
        self._feature_bytes = 0

    def _processed(
        self, prompts: list[str], shown: Sequence[Sequence[Any]]
    ) -> dict[str, torch.Tensor]:
        """The processor's own inputs of each question, padded on the left."""
        encoded = [
            encode(self.processor, self.adapter, prompt, images)
            for prompt, images in zip(prompts, shown, strict=True)
        ]
        inputs = {
            **text_batch([ids for ids, _ in encoded], self.processor, self.adapter, "left"),
            **image_batch([tensors for _, tensors in encoded], self.adapter),
        }
        return move(inputs, self.model.device, self.model.dtype)

    def _prompt(self, text: str, images: int) -> str:
        """The chat template around `text`; rendered once per number of images, as it is slow."""
        if images not in self._wraps:
            mark = "\x00question\x00"
            content: list[dict[str, str]] = [{"type": "image"}] * images
            content = [*content, {"type": "text", "text": mark}]
            rendered = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            before, _, after = rendered.partition(mark)
            self._wraps[images] = (before, after)
        before, after = self._wraps[images]
        for mark in (IMAGE_MARK, self.processor.image_token):
            text = text.replace(mark, "")  # the template has written the images' places
        return f"{before}{text.strip()}{after}"

    def _embedded(
        self, prompts: list[str], shown: Sequence[Sequence[Any]]
    ) -> dict[str, torch.Tensor]:
        """`inputs_embeds` [B, T, H] and `attention_mask` [B, T], with image features in place."""
        tokenizer, mark = self.processor.tokenizer, self.processor.image_token
        features = self._image_features([image for images in shown for image in images])
        if features:
            prompts = [p.replace(mark, mark * len(features[0])) for p in prompts]
        tokens = tokenizer(
            prompts,
            padding=True,
            padding_side="left",
            return_tensors="pt",
            add_special_tokens=not starts_with_bos(tokenizer, prompts[0]),
        ).to(self.model.device)
        embeds = self.model.get_input_embeddings()(tokens["input_ids"])
        if features:
            at = tokens["input_ids"] == self.image_token
            embeds[at] = torch.cat(features).to(embeds.dtype)
        return {"inputs_embeds": embeds, "attention_mask": tokens["attention_mask"]}

    def _image_features(self, images: list[Any]) -> list[torch.Tensor]:
        """Projected features [N, H] of each image; those not seen lately are encoded together."""
        keys = [_image_key(image) for image in images]
        found = {key: self._features[key] for key in keys if key in self._features}
        missing = {k: im for k, im in zip(keys, images, strict=True) if k not in found}
        if missing:
            pixels = self.processor.image_processor(list(missing.values()), return_tensors="pt")
            values = pixels["pixel_values"].to(self.model.device, self.model.dtype)
            output = self.model.get_image_features(pixel_values=values, return_dict=True)
            for key, features in zip(missing, output.pooler_output, strict=True):
                found[key] = self._features[key] = features
                self._feature_bytes += features.nbytes
        for key in keys:
            self._features.move_to_end(key)
        while self._feature_bytes > FEATURE_CACHE_BYTES:
            _, dropped = self._features.popitem(last=False)
            self._feature_bytes -= dropped.nbytes
        return [found[key] for key in keys]


def _image_key(image: Any) -> bytes:
    """Digest of what is seen, so that an image is recognised whichever question shows it."""
    seen = as_seen(image)  # a palette's colours stand in no pixel
    return hashlib.blake2b(seen.tobytes() + repr(seen.size).encode(), digest_size=16).digest()
