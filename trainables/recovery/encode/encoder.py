"""From conversations to tensors: token ids, answer labels, collation.

Shapes: B samples, T tokens (text and image tokens together).
"""

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainables.common.contents import file_digest
from trainables.models.collation import IGNORE, Batch, image_batch, pad, starts_with_bos, text_batch
from trainables.models.families.adapter import VLMAdapter
from trainables.recovery.data.conversations import Conversation, ConversationData
from trainables.recovery.data.images import open_image
from trainables.recovery.data.rows import Broken, BrokenSampleError
from trainables.recovery.encode.chat import (
    Spans,
    control_tokens,
    expand_images,
    refuse_control_tokens,
    render,
)
from trainables.recovery.encode.image_inputs import ImageInputs
from trainables.specs import digest

SUBSETS = 4  # whose rows are remembered: those that calibrate and those that are trained on


class _Encoded(NamedTuple):
    """One sample; arrays, as Python's integers would take eight times the room.

    Attributes:
        ids: int32 [T].
        answer: bool [T], positions with a label.
        images: how many of the sample's images are in it.
    """

    ids: np.ndarray
    answer: np.ndarray
    images: int

    @property
    def size(self) -> int:
        """Bytes, with what Python itself takes for the objects."""
        return self.ids.nbytes + self.answer.nbytes + 512


class Encoder:
    """Encodes conversations with a processor and its chat template; remembers what it encoded.

    Labels cover the answers and the token that ends each; everything else is IGNORE. Kept are the
    lengths of all samples seen, the token ids of the last ones up to `token_cache_mib` (about 4 KiB
    per sample of 700 tokens), and image tensors up to `pixel_cache_mib`.
    """

    def __init__(
        self,
        processor: Any,
        data: ConversationData,
        max_tokens: int,
        adapter: VLMAdapter,
        pixel_cache_mib: int = 512,
        token_cache_mib: int = 2048,
        look: bool = False,
    ) -> None:
        """Take the processor of the model that `adapter` describes.

        With `look` a sample is at fault, too, if an image of it cannot be decoded.
        """
        self.processor, self.data = processor, data
        self.max_tokens, self.adapter = max_tokens, adapter
        self.image_inputs = ImageInputs(processor, adapter, pixel_cache_mib)
        self._encoded: dict[int, _Encoded] = {}  # oldest first
        self._bytes_left = token_cache_mib * 2**20
        self._lengths: dict[int, int] = {}
        self._images: dict[Path, str] = {}  # digests
        self._look = look
        self._seen: set[Path] = set()  # images that can be decoded
        self._subsets: dict[bytes, tuple[str, tuple[Path, ...]]] = {}  # by indices, oldest first

    def tokens(self, index: int) -> tuple[list[int], list[int]]:
        """(input_ids, labels) of one sample, image tokens included.

        A sample of more than `max_tokens` is cut there; where that would cut into an image, at the
        end of the last answer in front of that image.

        Raises:
            BrokenSampleError: cutting leaves no answer, or the text has not as many image
                placeholders as the sample has images, or an image cannot be read.
        """
        sample = self._sample(index)
        return sample.ids.tolist(), np.where(sample.answer, sample.ids, IGNORE).tolist()

    def length(self, index: int) -> int:
        """Tokens of one sample; reads no image pixels."""
        if index not in self._lengths:
            self._sample(index)
        return self._lengths[index]

    def images(self, index: int) -> tuple[Path, ...]:
        """The image files that one sample shows, in order, without those that were cut off."""
        return self.data.conversations[index].images[: self._sample(index).images]

    def image_digests(self, index: int) -> tuple[str, ...]:
        """Digests of the image files that a sample shows, in order."""
        return tuple(map(self._digest, self.images(index)))

    def content(self, indices: np.ndarray) -> str:
        """SHA-256 of what samples show, in their order: their turns and the bytes of their images.

        Their ids, and where the image files lie, make no difference. The rows of a subset are read
        once, and an image file while its size and times stay (see `file_digest`).
        """
        rows, images = self._rows(indices)
        return digest([rows, *map(self._digest, images)], length=64)

    def text(self, indices: np.ndarray) -> str:
        """SHA-256 of samples' turns, in their order, and of who shows which image."""
        return self._rows(indices)[0]

    def _rows(self, indices: np.ndarray) -> tuple[str, tuple[Path, ...]]:
        """What `text` says, and the image files, once each."""
        key = indices.tobytes()
        if key not in self._subsets:
            for oldest in [*self._subsets][: 1 - SUBSETS]:
                del self._subsets[oldest]
            total, images = hashlib.sha256(), dict[Path, int]()
            for sample in self.data.at(indices):
                shown = [images.setdefault(path, len(images)) for path in sample.images]
                total.update(json.dumps([sample.turns, shown]).encode())
            self._subsets[key] = total.hexdigest(), tuple(images)
        return self._subsets[key]

    def _digest(self, path: Path) -> str:
        """Digest of an image file, empty if it cannot be read.

        Where it is another file than before, whatever was made of the images is forgotten.
        """
        try:
            found = file_digest(path)
        except OSError:  # whoever needs the image says so
            found = ""
        if self._images.setdefault(path, found) != found:
            self._images[path] = found
            self._forget()
        return found

    def _forget(self) -> None:
        self.image_inputs.forget()
        self._bytes_left += sum(sample.size for sample in self._encoded.values())
        self._encoded.clear()
        self._lengths.clear()
        self._seen.clear()

    def fault(self, index: int) -> Broken | None:
        """What is wrong with a sample's text or its images; None if it is sound.

        Of the images only the heads are read, or not even those, unless they are to be looked at.
        """
        try:
            self._sample(index)
            for path in self.images(index) if self._look else ():
                if path not in self._seen:
                    open_image(path, self.data.conversations[index].id)
                    self._seen.add(path)
        except BrokenSampleError as error:
            return error.broken
        return None

    def usable(self, indices: np.ndarray) -> np.ndarray:
        """The indices of samples that can be encoded, in order.

        Raises:
            ValueError: none can; says what is wrong with the first.
        """
        faults = [self.fault(int(index)) for index in indices]
        if all(faults):
            first = faults[0].message if faults and faults[0] else "there are none"
            raise ValueError(
                f"none of the {len(indices)} samples can be encoded; the first: {first}"
            )
        return indices[[fault is None for fault in faults]]

    def batch(self, indices: np.ndarray | Sequence[int]) -> Batch:
        """Collate samples: `labels` [B, T] and every other input of the family's forward pass."""
        ids, labels = zip(*(self.tokens(int(i)) for i in indices), strict=True)
        shown = [
            self.image_inputs.tensors(path, self.data.conversations[int(i)].id)
            for i in indices
            for path in self.images(int(i))
        ]
        return {
            **text_batch(ids, self.processor, self.adapter),
            "labels": pad(labels, IGNORE),
            **image_batch(shown, self.adapter),
        }

    def _sample(self, index: int) -> _Encoded:
        if index not in self._encoded:
            sample = self._encode(self.data.conversations[index])
            self._encoded[index] = sample
            self._lengths[index] = len(sample.ids)
            self._bytes_left -= sample.size
            while self._bytes_left < 0 and len(self._encoded) > 1:
                oldest = next(iter(self._encoded))
                self._bytes_left += self._encoded.pop(oldest).size
        return self._encoded[index]

    @functools.cached_property
    def _control_tokens(self) -> "re.Pattern[str]":
        return control_tokens(self.processor)

    def _encode(self, conversation: Conversation) -> _Encoded:
        refuse_control_tokens(conversation, self._control_tokens)
        text, answers, images = self._expand(conversation, *render(self.processor, conversation))
        tokenizer = self.processor.tokenizer
        encoded = tokenizer(
            text,
            return_offsets_mapping=True,
            add_special_tokens=not starts_with_bos(tokenizer, text),
        )
        starts, ends = np.array(encoded["offset_mapping"]).reshape(-1, 2).T
        ids = np.array(encoded["input_ids"], dtype=np.int32)
        answer = np.zeros(len(ids), dtype=bool)
        for a, b in answers:
            answer |= (starts < b) & (ends > a)
        blocks = [np.flatnonzero((starts < b) & (ends > a)) for a, b in images]
        cut = self._cut(conversation, answer, [(int(t[0]), int(t[-1]) + 1) for t in blocks])
        shown = sum(int(block[-1]) < cut for block in blocks)
        return _Encoded(ids[:cut], answer[:cut], shown)

    def _expand(
        self, conversation: Conversation, text: str, answers: Spans
    ) -> tuple[str, Spans, Spans]:
        """The text with what the processor writes for the images; spans of answers and images."""
        mark, images = self.processor.image_token, conversation.images
        if text.count(mark) != len(images):
            raise BrokenSampleError(
                "image marks",
                conversation.id,
                f"sample {conversation.id!r} has {len(images)} images, but its text has "
                f"{text.count(mark)} places for one ({mark}); mend its turns, or the processor's "
                "chat template",
            )
        written = [self.image_inputs.text(path, conversation.id) for path in images]
        return expand_images(text, answers, mark, written)

    def _cut(
        self, conversation: Conversation, answer: np.ndarray, images: list[tuple[int, int]]
    ) -> int:
        """How many tokens are kept, at most `max_tokens`; `images` are [start, end) in tokens."""
        cut = min(self.max_tokens, len(answer))
        halved = [start for start, end in images if start < cut < end]
        if halved:  # go back to where the turn before that image ended
            before = np.flatnonzero(answer[: halved[0]])
            cut = int(before[-1]) + 1 if len(before) else 0
        if not answer[:cut].any():
            raise BrokenSampleError(
                "too long",
                conversation.id,
                f"sample {conversation.id!r}: cutting it to data.max_tokens={self.max_tokens} "
                "leaves part of an image or no answer; raise data.max_tokens",
            )
        return cut
