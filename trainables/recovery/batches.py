"""From conversations to tensors: response mask, collation, the order of samples.

Shapes: B samples, T tokens (text and image tokens together).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from trainables.models.adapter import VLMAdapter
from trainables.models.collation import (
    IGNORE,
    Batch,
    encode,
    image_batch,
    pad,
    starts_with_bos,
    text_batch,
)
from trainables.models.llava import LLAVA_LLAMA
from trainables.recovery.chat import Spans, expand_image, render
from trainables.recovery.data import Conversation, ConversationData, image_size, open_image

__all__ = [
    "IGNORE",
    "Batch",
    "Encoder",
    "render",
    "sample_stream",
    "split_among",
    "take_batches",
]

ANY_SIZE = (64, 64)


class Encoder:
    """Encodes conversations with a processor and its chat template; remembers what it encoded.

    Labels cover the answers and the token that ends each; everything else is IGNORE. Token ids are
    kept for every sample seen, image tensors up to `pixel_cache_mib`.

    The processor alone knows what text an image becomes. For every family that depends on nothing
    but the image's size, so it is asked once per size, with a blank image: the tokens of a sample
    need the head of its image file only, or not even that (`VLMAdapter.fixed_image_tokens`).
    """

    def __init__(
        self,
        processor: Any,
        data: ConversationData,
        max_tokens: int,
        pixel_cache_mib: int = 512,
        adapter: VLMAdapter = LLAVA_LLAMA,
    ) -> None:
        """Take the processor of the model that `adapter` describes; the default is LLaVA-1.5."""
        self.processor = processor
        self.data = data
        self.max_tokens = max_tokens
        self.adapter = adapter
        self._tokens: dict[int, tuple[list[int], list[int]]] = {}
        self._expansions: dict[tuple[int, int], str] = {}  # by (width, height)
        self._images: dict[str, Batch] = {}
        self._image_bytes_left = pixel_cache_mib * 2**20

    def tokens(self, index: int) -> tuple[list[int], list[int]]:
        """(input_ids, labels) of one sample, image tokens included.

        Raises:
            ValueError: truncation to `max_tokens` would cut into an image or leave no answer, or
                the text has not as many image placeholders as the sample has images.
        """
        if index not in self._tokens:
            self._tokens[index] = self._encode(self.data.conversations[index])
        return self._tokens[index]

    def length(self, index: int) -> int:
        """Tokens of one sample; reads no image pixels."""
        return len(self.tokens(index)[0])

    def batch(self, indices: np.ndarray | list[int]) -> Batch:
        """Collate samples: `labels` [B, T] and every other input of the family's forward pass."""
        encoded = [self.tokens(int(i)) for i in indices]
        shown = [self.data.conversations[int(i)] for i in indices]
        images = [self._image(c) for c in shown if c.image is not None]
        return {
            **text_batch([ids for ids, _ in encoded], self.processor, self.adapter),
            "labels": pad([labels for _, labels in encoded], IGNORE),
            **image_batch(images, self.adapter),
        }

    def _image(self, conversation: Conversation) -> Batch:
        """The tensors of one sample's image."""
        key = str(conversation.image)
        if key in self._images:
            return self._images[key]
        image = open_image(conversation)
        _, tensors = encode(self.processor, self.adapter, self.processor.image_token, [image])
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        if size <= self._image_bytes_left:
            self._image_bytes_left -= size
            self._images[key] = tensors
        return tensors

    def _encode(self, conversation: Conversation) -> tuple[list[int], list[int]]:
        text, answers = self._expand(conversation, *render(self.processor, conversation))
        tokenizer = self.processor.tokenizer
        encoded = tokenizer(
            text,
            return_offsets_mapping=True,
            add_special_tokens=not starts_with_bos(tokenizer, text),
        )
        ids = encoded["input_ids"]
        labels = [
            token if any(start < b and end > a for a, b in answers) else IGNORE
            for token, (start, end) in zip(ids, encoded["offset_mapping"], strict=True)
        ]
        return self._truncate(conversation, ids, labels)

    def _expand(self, conversation: Conversation, text: str, answers: Spans) -> tuple[str, Spans]:
        """The text with what the processor writes for the image, and the answers' new spans."""
        mark, images = self.processor.image_token, int(conversation.image is not None)
        if text.count(mark) != images:
            raise ValueError(
                f"sample {conversation.id!r} has {images} images, but its text has "
                f"{text.count(mark)} places for one ({mark}); mend its turns, or the processor's "
                "chat template"
            )
        if not images:
            return text, answers
        size = ANY_SIZE if self.adapter.fixed_image_tokens else image_size(conversation)
        if size not in self._expansions:
            self._expansions[size] = self._ask_expansion(conversation, size)
        return expand_image(text, answers, mark, self._expansions[size])

    def _ask_expansion(self, conversation: Conversation, size: tuple[int, int]) -> str:
        from PIL import Image

        try:
            told = self.processor(
                text=[self.processor.image_token],
                images=[[Image.new("RGB", size)]],
                return_text_replacement_offsets=True,
            )
        except ValueError as error:
            raise ValueError(
                f"sample {conversation.id!r}: the processor refuses an image of {size[0]} x "
                f"{size[1]} pixels ({error}); leave the sample out"
            ) from error
        # Many sizes become the same text, which is long.
        return sys.intern(told["text_replacement_offsets"][0][0]["replacement"])

    def _truncate(
        self, conversation: Conversation, ids: list[int], labels: list[int]
    ) -> tuple[list[int], list[int]]:
        if len(ids) <= self.max_tokens:
            return ids, labels
        image_token = self.processor.image_token_id
        last_image = max((i for i, token in enumerate(ids) if token == image_token), default=-1)
        ids, labels = ids[: self.max_tokens], labels[: self.max_tokens]
        if last_image >= self.max_tokens or all(label == IGNORE for label in labels):
            raise ValueError(
                f"sample {conversation.id!r}: cutting it to data.max_tokens={self.max_tokens} "
                "leaves part of an image or no answer; raise data.max_tokens"
            )
        return ids, labels


def sample_stream(subset: np.ndarray, seed: int) -> Iterator[int]:
    """Endless sample indices: the subset reshuffled for each epoch by (seed, epoch)."""
    epoch = 0
    while True:
        order = np.random.default_rng((seed, epoch)).permutation(len(subset))
        yield from (int(i) for i in subset[order])
        epoch += 1


def take_batches(subset: np.ndarray, seed: int, batch_size: int) -> Iterator[list[int]]:
    """Endless batches of exactly `batch_size` indices from `sample_stream`."""
    stream = sample_stream(subset, seed)
    while True:
        yield [next(stream) for _ in range(batch_size)]


def split_among(indices: list[int], rank: int, world_size: int, micro: int) -> list[list[int]]:
    """The micro-batches of one worker; all workers get the same number of them.

    Args:
        indices: the global batch.
        rank: this worker, 0-based.
        world_size: number of workers; must divide the batch.
        micro: largest micro-batch.

    Raises:
        ValueError: the batch cannot be shared out evenly.
    """
    if len(indices) % world_size:
        raise ValueError(
            f"batch_size={len(indices)} cannot be shared by {world_size} workers; make it a "
            f"multiple of {world_size}"
        )
    own = indices[rank::world_size]
    parts = -(-len(own) // micro)
    return [own[i::parts] for i in range(parts)]
