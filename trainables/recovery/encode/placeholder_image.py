"""A blank image for micro-batches without one, so that all workers run the same modules.

With several workers DeepSpeed reduces gradients in buckets, and gathers partitioned weights module
by module: a worker whose micro-batch is text alone would leave out vision tower and projector, and
the others would wait for it, or reduce buckets of another size. ZeRO-3 also wants a gradient of
every parameter in every step from a single worker.

Shapes: B samples, T tokens, N image tokens of the blank image.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainables.models.collation import IGNORE, Batch
from trainables.models.families.adapter import VLMAdapter


def with_placeholder_image(batch: Batch, adapter: VLMAdapter, config: Mapping[str, Any]) -> Batch:
    """A batch of text alone with a blank image behind its end, masked: nothing attends to it.

    It covers no token of any loss term, so it changes neither values nor gradients; those of the
    projector are zeros instead of none. A batch that shows an image is returned as it is.
    """
    if any(name in batch for name in adapter.image_inputs):
        return batch
    image, token = adapter.natural_image(config), adapter.image_token_id(config)
    ids = batch["input_ids"]
    more: Tensor = ids.new_zeros((len(ids), image.tokens))
    more[0] = token
    whole = {
        name: functional.pad(value, (0, image.tokens), value=IGNORE if name == "labels" else 0)
        for name, value in batch.items()
    }
    whole["input_ids"] = torch.cat([ids, more], dim=1)
    if adapter.token_types:
        whole[adapter.token_types] = (whole["input_ids"] == token).to(ids.dtype)
    # Not zeros: some families take an image of zeros for padding and leave it out.
    whole["pixel_values"] = torch.ones(image.pixel_values, device=ids.device)
    for name in adapter.image_inputs:
        if name not in whole:
            given = image.arguments.get(name)
            whole[name] = (
                torch.tensor(given, device=ids.device)
                if given is not None
                else torch.ones_like(whole["pixel_values"][:, :, 0]).long()
            )
    return whole
