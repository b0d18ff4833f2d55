"""Batched greedy answers of a vision-language model to questions about images.

Shapes: B questions, T tokens (text and image tokens together), H hidden size, N tokens per image.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainables.models.collation import encode, image_batch, move, starts_with_bos, text_batch
from trainables.models.registry import adapter_for

FEATURE_CACHE_BYTES = 2**30
IMAGE_MARK = "<image>"  # that some tasks write into their questions, whatever the model


@dataclass(frozen=True)
class Question:
    """One question; `images` is called when its batch is due, so that few images are in memory."""

    text: str
    images: Callable[[], Sequence[Any]]
    max_new_tokens: int
    until: tuple[str, ...] = ()


def answer(model: Any, processor: Any, questions: Sequence[Question], batch_size: int) -> list[str]:
    """Greedy answers, in the order of the questions.

    Questions of similar length share a batch; padding is on the left; a batch ends when each of its
    answers has ended.

    Raises:
        ValueError: a logit is NaN.
    """
    answers: dict[int, str] = {}
    encode = _Encoder(model, processor)
    with torch.inference_mode():
        for batch in _batches(questions, batch_size):
            asked = [questions[i] for i in batch]
            inputs = encode(asked)
            said = _generate(model, processor, inputs, asked[0].max_new_tokens)
            for i, text in zip(batch, said, strict=True):
                answers[i] = _cut(text, questions[i].until)
    return [answers[i] for i in range(len(questions))]


def _batches(questions: Sequence[Question], batch_size: int) -> Iterator[list[int]]:
    """Indices of questions with the same answer length, longest prompts first.

    Longest first shows a lack of memory at the start. Words stand for tokens: tokenizing all
    questions beforehand took longer than the padding it saved.
    """
    lengths = [(len(q.text.split()), len(q.text)) for q in questions]
    for new_tokens in sorted({q.max_new_tokens for q in questions}):
        group = [i for i, q in enumerate(questions) if q.max_new_tokens == new_tokens]
        group.sort(key=lambda i: lengths[i], reverse=True)
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def _cut(text: str, until: Sequence[str]) -> str:
    """The text before the first stop string, without surrounding blanks."""
    text = text.strip()
    for stop in until:
        if stop:
            text = text.split(stop)[0]
    return text.strip()


class _Encoder:
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

    def __call__(self, questions: Sequence[Question]) -> dict[str, torch.Tensor]:
        shown = [list(q.images()) for q in questions]
        prompts = [self._prompt(q.text, len(s)) for q, s in zip(questions, shown, strict=True)]
        return (self._embedded if self.shares else self._processed)(prompts, shown)

    def _processed(self, prompts: list[str], shown: list[list[Any]]) -> dict[str, torch.Tensor]:
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

    def _embedded(self, prompts: list[str], shown: list[list[Any]]) -> dict[str, torch.Tensor]:
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
                self._feature_bytes += features.numel() * features.element_size()
        for key in keys:
            self._features.move_to_end(key)
        while self._feature_bytes > FEATURE_CACHE_BYTES:
            _, dropped = self._features.popitem(last=False)
            self._feature_bytes -= dropped.numel() * dropped.element_size()
        return [found[key] for key in keys]


def _image_key(image: Any) -> bytes:
    """Digest of the pixels, so that an image is recognised whichever question shows it."""
    shape = repr((image.size, image.mode)).encode()
    return hashlib.blake2b(image.tobytes() + shape, digest_size=16).digest()


def _generate(
    model: Any, processor: Any, inputs: dict[str, torch.Tensor], max_new_tokens: int
) -> list[str]:
    """Greedy continuations of a left-padded batch, decoded without special tokens."""
    from transformers import GenerationConfig, LogitsProcessorList

    tokenizer = processor.tokenizer
    ends = model.generation_config.eos_token_id or tokenizer.eos_token_id
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends,
    )
    produced = model.generate(
        **inputs, generation_config=config, logits_processor=LogitsProcessorList([refuse_nan])
    )
    prompt = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
    said: list[str] = tokenizer.batch_decode(produced[:, prompt:], skip_special_tokens=True)
    return said


def refuse_nan(input_ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The logits, unless one of them is NaN.

    Raises:
        ValueError: a logit is NaN; argmax would turn it into an answer and thus into a score.
    """
    if torch.isnan(logits).any():
        raise ValueError(
            "the model's logits are NaN, so it has no score; its weights or activations overflowed "
            "(lower the learning rate, or use bfloat16 instead of float16)"
        )
    return logits
