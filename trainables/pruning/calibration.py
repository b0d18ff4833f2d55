"""What both importance methods share: moving a calibration batch, and counting its tokens."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

IGNORE = -100


def model_inputs(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch without its labels, on the model's device, pixels in the model's type."""
    weight = next(model.parameters())
    inputs = {name: t.to(weight.device) for name, t in batch.items() if name != "labels"}
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(weight.dtype)
    return inputs


def response_tokens(batch: Mapping[str, Tensor]) -> int:
    """Covered tokens of a batch: labels that a token before them predicts."""
    return int((batch["labels"][:, 1:] != IGNORE).sum())
