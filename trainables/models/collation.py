"""From a processor's output for single samples to the inputs of a forward pass.

The processor itself expands the images of a text and makes their tensors; what it does not know is
how samples of different size share a batch. That is the same few rules for every family: which
image tensors there are, and whether they are padded, stands in `VLMAdapter.image_inputs`.

Shapes: B samples, T tokens (text and image tokens together).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from trainables.models.families.adapter import VLMAdapter

IGNORE = -100  # label of a position without one, as in `torch.nn.functional.cross_entropy`
Batch = dict[str, Tensor]
Side = Literal["left", "right"]


def encode(
    processor: Any, adapter: VLMAdapter, text: str, images: Sequence[Any]
) -> tuple[list[int], Batch]:
    """One sample as the processor encodes it: token ids, and the tensors of its images.

    Args:
        processor: of the model's family.
        adapter: table of the model's family.
        text: rendered chat, one placeholder per image.
        images: PIL images in the order of their placeholders; none for a text alone.
    """
    encoded = processor(
        text=[text],
        images=[list(images)] if images else None,
        add_special_tokens=not starts_with_bos(processor.tokenizer, text),
        return_tensors="pt",
    )
    tensors = {name: encoded[name] for name in adapter.image_inputs} if images else {}
    return encoded["input_ids"][0].tolist(), tensors


def starts_with_bos(tokenizer: Any, text: str) -> bool:
    """Whether the chat template has written the beginning-of-sequence token itself."""
    return bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)


def pad(rows: Sequence[Sequence[int]], value: int, side: Side = "right") -> Tensor:
    """Rows of different length as one int64 tensor [B, T], filled up with `value` on one side."""
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=value, padding_side=side)


def text_batch(
    rows: Sequence[Sequence[int]], processor: Any, adapter: VLMAdapter, side: Side = "right"
) -> Batch:
    """`input_ids` and `attention_mask` [B, T], and the token types that some models read."""
    tokenizer = processor.tokenizer
    padding = tokenizer.pad_token_id
    ids = pad(rows, tokenizer.eos_token_id if padding is None else padding, side)
    batch = {"input_ids": ids, "attention_mask": pad([[1] * len(row) for row in rows], 0, side)}
    if adapter.token_types:
        batch[adapter.token_types] = (ids == processor.image_token_id).long()
    return batch


def image_batch(samples: Sequence[Batch], adapter: VLMAdapter) -> Batch:
    """The image tensors of several samples as one batch; {} where no sample shows an image.

    Samples follow each other in the first dimension, as the models take image features in the order
    of the image tokens. Where the adapter says so, the later dimensions are padded with zeros.
    """
    shown = [sample for sample in samples if sample]
    if not shown:
        return {}
    batch = {}
    for name, join in adapter.image_inputs.items():
        tensors = [sample[name] for sample in shown]
        batch[name] = torch.cat(_same_size(tensors) if join == "pad" else tensors)
    return batch


def within_budget(
    order: Iterable[int], lengths: Mapping[int, int] | Sequence[int], tokens: int
) -> list[list[int]]:
    """Batches of neighbours of an order by falling length, as few as the budget allows.

    Each starts with its longest sample; one that is above the budget alone gets its own batch.

    Args:
        order: samples, longest first.
        lengths: tokens of each.
        tokens: most per batch, padding included: samples times the longest of them.
    """
    batches: list[list[int]] = []
    for index in order:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def move(batch: Batch, device: torch.device, dtype: torch.dtype) -> Batch:
    """The batch on a device, its images in the model's type."""
    return {
        name: value.to(device, dtype if value.is_floating_point() else None)
        for name, value in batch.items()
    }


def _same_size(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors with zeros at the end of every dimension but the first, up to the largest."""
    largest = [max(sizes) for sizes in zip(*(t.shape[1:] for t in tensors), strict=True)]
    padded = [tensor.new_zeros(len(tensor), *largest) for tensor in tensors]
    for whole, tensor in zip(padded, tensors, strict=True):
        whole[tuple(slice(size) for size in tensor.shape)] = tensor
    return padded
