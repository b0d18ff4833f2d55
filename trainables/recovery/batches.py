"""From conversations to tensors: chat template, response mask, collation, the order of samples.

Shapes: B samples, T tokens (text and image tokens together).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from trainables.recovery.data import IMAGE_MARK, Conversation, ConversationData, open_image

IGNORE = -100
Batch = dict[str, torch.Tensor]


class Encoder:
    """Encodes conversations with a processor's own chat template; remembers what it encoded.

    Labels cover the answers and the end-of-sequence token after each; everything else is IGNORE.
    Token ids are kept for every sample seen, pixel values up to `pixel_cache_mib`.
    """

    def __init__(
        self,
        processor: Any,
        data: ConversationData,
        max_tokens: int,
        pixel_cache_mib: int = 512,
    ) -> None:
        self.processor = processor
        self.data = data
        self.max_tokens = max_tokens
        self._tokens: dict[int, tuple[list[int], list[int]]] = {}
        self._pixels: dict[str, torch.Tensor] = {}
        self._pixel_bytes_left = pixel_cache_mib * 2**20

    def tokens(self, index: int) -> tuple[list[int], list[int]]:
        """(input_ids, labels) of one sample, image tokens included.

        Raises:
            ValueError: truncation to `max_tokens` would cut into an image or leave no answer.
        """
        if index not in self._tokens:
            self._tokens[index] = self._encode(self.data.conversations[index])
        return self._tokens[index]

    def length(self, index: int) -> int:
        """Tokens of one sample; reads no image pixels."""
        return len(self.tokens(index)[0])

    def batch(self, indices: np.ndarray | list[int]) -> Batch:
        """Collate samples: `input_ids`, `attention_mask`, `labels` [B, T] and `pixel_values`."""
        encoded = [self.tokens(int(i)) for i in indices]
        longest = max(len(ids) for ids, _ in encoded)
        pad = self.processor.tokenizer.pad_token_id
        batch = {
            "input_ids": torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in encoded]),
            "attention_mask": torch.tensor(
                [[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in encoded]
            ),
            "labels": torch.tensor([y + [IGNORE] * (longest - len(y)) for _, y in encoded]),
        }
        shown = [self.data.conversations[int(i)] for i in indices]
        pixels = [self._image(c) for c in shown if c.image is not None]
        if pixels:
            batch["pixel_values"] = torch.stack(pixels)
        return batch

    def _image(self, conversation: Conversation) -> torch.Tensor:
        key = str(conversation.image)
        if key in self._pixels:
            return self._pixels[key]
        image = open_image(conversation)
        pixels: torch.Tensor = self.processor.image_processor(image, return_tensors="pt")[
            "pixel_values"
        ][0]
        size = pixels.numel() * pixels.element_size()
        if size <= self._pixel_bytes_left:
            self._pixel_bytes_left -= size
            self._pixels[key] = pixels
        return pixels

    def _encode(self, conversation: Conversation) -> tuple[list[int], list[int]]:
        text, answers = render(self.processor, conversation)
        text, answers = self._expand_image(text, answers)
        tokenizer = self.processor.tokenizer
        has_bos = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
        encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=not has_bos)
        ids = encoded["input_ids"]
        labels = [
            token if any(start < b and end > a for a, b in answers) else IGNORE
            for token, (start, end) in zip(ids, encoded["offset_mapping"], strict=True)
        ]
        return self._truncate(conversation, ids, labels)

    def _expand_image(
        self, text: str, answers: list[tuple[int, int]]
    ) -> tuple[str, list[tuple[int, int]]]:
        mark = self.processor.image_token
        at = text.find(mark)
        if at < 0:
            return text, answers
        size = self.processor.image_processor.crop_size or self.processor.image_processor.size
        count = self.processor._get_num_multimodal_tokens(
            image_sizes=[(size["height"], size["width"])]
        )["num_image_tokens"][0]
        shift = (count - 1) * len(mark)
        text = text[:at] + mark * count + text[at + len(mark) :]
        return text, [(a + shift, b + shift) if a > at else (a, b) for a, b in answers]

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


def render(processor: Any, conversation: Conversation) -> tuple[str, list[tuple[int, int]]]:
    """The chat text of a conversation and the character spans of its answers.

    Each answer ends with the end-of-sequence token, whether or not the template writes one.
    """
    eos = processor.tokenizer.eos_token
    messages: list[dict[str, Any]] = []
    text, plain, spans = "", "", []
    for number, (question, answer) in enumerate(conversation.turns):
        content: list[dict[str, str]] = []
        if number == 0 and conversation.image is not None:
            content.append({"type": "image"})
        content.append({"type": "text", "text": question.replace(IMAGE_MARK, "").strip()})
        messages.append({"role": "user", "content": content})
        asked = processor.apply_chat_template(messages, add_generation_prompt=True)
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        answered = processor.apply_chat_template(messages)
        if not (asked.startswith(plain) and answered.startswith(asked)):
            # A template whose generation prompt ends in a space that the answer brings along.
            asked = asked.rstrip()
            if not (asked.startswith(plain.rstrip()) and answered.startswith(asked)):
                raise ValueError("this chat template rewrites earlier turns; it is not supported")
        text += asked[len(plain) :]
        response = answered[len(asked) :].rstrip()
        response = response if response.endswith(eos) else response + eos
        spans.append((len(text), len(text) + len(response)))
        text, plain = text + response, answered
    return text, spans


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
