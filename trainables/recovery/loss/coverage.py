"""Which tokens each loss term covers, in a batch and counted over a global batch.

Shapes: B samples, T tokens (text and image tokens together). Padding may be on either side.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from trainables.models.collation import IGNORE, Batch
from trainables.specs import Covered, LossSpec


def answer_positions(labels: Tensor) -> Tensor:
    """Bool [B, T]: positions whose *next* token is part of an answer."""
    return _before(labels != IGNORE)


def logits_positions(batch: Batch, tokens: Covered, image_token_id: int) -> Tensor:
    """Bool [B, T]: positions whose distribution over the next token the logits term covers."""
    covered = hidden_positions(batch, tokens, image_token_id)
    return batch["attention_mask"].bool() & _before(covered) if tokens == "text" else covered


def hidden_positions(batch: Batch, tokens: Covered, image_token_id: int) -> Tensor:
    """Bool [B, T]: the tokens that the hidden term covers; padding never counts."""
    present = batch["attention_mask"].bool()
    if tokens == "all":
        return present
    if tokens == "text":
        return present & (batch["input_ids"] != image_token_id)
    return answer_positions(batch["labels"])


def positions_mask(batch: Batch, sets: Iterable[str], image_token_id: int) -> Tensor:
    """Bool [B, T]: the union of sets of positions (see `teacher.cache_contents`)."""
    union = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    for one in sets:
        if one == "before_text":
            union |= logits_positions(batch, "text", image_token_id)
        else:
            union |= hidden_positions(batch, cast(Covered, one), image_token_id)
    return union


def sample_batch(ids: list[int], labels: list[int]) -> Batch:
    """One sample's tokens as a batch without padding and images."""
    tokens = torch.tensor([ids])
    return {
        "input_ids": tokens,
        "labels": torch.tensor([labels]),
        "attention_mask": torch.ones_like(tokens),
    }


def _before(chosen: Tensor) -> Tensor:
    """Bool [B, T]: positions right before a chosen one."""
    return functional.pad(chosen[:, 1:], (0, 1))


@dataclass(frozen=True)
class Coverage:
    """Divisors of the terms' sums: covered tokens of a global batch, by term.

    Of `logits` it is the batch's samples where `LossSpec.logits_per` says so.
    """

    answer: int
    logits: int
    hidden: int


def coverage(
    samples: Iterable[tuple[list[int], list[int]]], loss: LossSpec, image_token_id: int
) -> Coverage:
    """That of the global batch, from (input_ids, labels) of its samples; no padding."""
    answer = logits = hidden = count = 0
    for ids, labels in samples:
        count += 1
        answers = sum(label != IGNORE for label in labels[1:])
        text = [token != image_token_id for token in ids]
        answer += answers
        logits += {"all": len(ids), "text": sum(text[1:]), "response": answers}[loss.logits_tokens]
        hidden += {"all": len(ids), "text": sum(text), "response": answers}[loss.hidden_tokens]
    return Coverage(answer, count if loss.logits_per == "sample" else logits, hidden)
