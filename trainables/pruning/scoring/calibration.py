"""What every criterion shares: a calibration batch on the model, its tokens, and its faults."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trainables.models.collation import IGNORE
from trainables.models.families.adapter import VLMAdapter
from trainables.specs import Tokens

# Adds up a tensor over all workers in place (`torch.distributed.all_reduce`).
Combine = Callable[[Tensor], object]


def alone(_: Tensor) -> None:
    """Combines nothing: there is one worker."""


def model_inputs(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch without its labels, on the model's device, pixels in the model's type."""
    weight = next(model.parameters())
    inputs = {name: t.to(weight.device) for name, t in batch.items() if name != "labels"}
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(weight.dtype)
    return inputs


def check_batches(batches: Sequence[Mapping[str, Tensor]]) -> None:
    """Raise ValueError unless there is calibration data, with images."""
    if not batches:
        raise ValueError("there are no calibration batches, so nothing can be scored")
    if not any(batch.get("pixel_values") is not None for batch in batches):
        raise ValueError(
            f"none of the {sum(len(b['input_ids']) for b in batches)} calibration samples has an "
            "image, but importance is that for vision and language together; give conversations "
            "with images"
        )


def covered_tokens(
    batch: Mapping[str, Tensor], tokens: Tokens, adapter: VLMAdapter, model: nn.Module
) -> Tensor:
    """Which positions count, bool [B, T]; padding never does.

    `image` are the positions that image features fill, `text` all others, `response` those with a
    label.
    """
    present = batch["attention_mask"].bool()
    if tokens == "all":
        return present
    if tokens == "response":
        return present & (batch["labels"] != IGNORE)
    config = model.config.to_dict()  # type: ignore[union-attr, operator]
    image = batch["input_ids"] == adapter.image_token_id(config)
    return present & (image if tokens == "image" else ~image)


class Pass(NamedTuple):
    """What a pass over the calibration data of all workers went through."""

    tokens: int
    samples: int
    batches: int


def forward_pass(
    model: nn.Module,
    adapter: VLMAdapter,
    batches: Sequence[Mapping[str, Tensor]],
    tokens: Tokens,
    handles: Sequence[RemovableHandle],
    begin: Callable[[Tensor], None],
    combine: Combine,
) -> Pass:
    """Run every batch once, without logits, for hooks that gather something of covered tokens.

    Args:
        model: in eval mode.
        adapter: its table.
        batches: the calibration set, or this worker's share of it.
        tokens: which positions count.
        handles: of the hooks, which are removed at the end.
        begin: called before each batch with its covered positions, bool [B, T], on the device.
        combine: adds up a tensor over all workers, in place.

    Raises:
        ValueError: if no token is covered.
    """
    device, seen = next(model.parameters()).device, 0
    with ExitStack() as hooks:
        for handle in handles:
            hooks.enter_context(handle)
        for batch in batches:
            covered = covered_tokens(batch, tokens, adapter, model)
            seen += int(covered.sum())
            begin(covered.to(device))
            model(**model_inputs(model, batch), use_cache=False, logits_to_keep=1)
    samples = sum(len(batch["input_ids"]) for batch in batches)
    passed = Pass(*totals([seen, samples, len(batches)], combine, device))
    if passed.tokens == 0:
        raise ValueError(
            f"tokens={tokens!r} covers no token of the calibration data; use tokens='all', or "
            "give conversations with images and answers"
        )
    return passed


def response_counts(batch: Mapping[str, Tensor]) -> Tensor:
    """Labels per sample that a token before them predicts, int64 [B]."""
    return (batch["labels"][:, 1:] != IGNORE).sum(dim=1)


def totals(values: Sequence[int], combine: Combine, device: torch.device) -> list[int]:
    """Counts of this worker's batches, added up over all workers."""
    counts = torch.tensor(values, dtype=torch.int64, device=device)
    combine(counts)
    return [int(count) for count in counts]
