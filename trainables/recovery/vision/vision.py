"""What the frozen vision tower says about images, and how the decoder takes it in.

The tower and the selection of its states are frozen, the projector is trained; so what stands right
in front of the projector is the same for teacher and student, in every step and trial. It is
computed once per micro-batch for both models, or once for all (see `vision_cache`).

Only families whose forward pass is no more than "project, put in place, decode" can be replayed
like this (`VLMAdapter.replays_vision`).

Shapes: B samples, T tokens, H hidden size, t tiles (an image is one tile, or several), r rows of a
tile and c channels in front of the projector.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainables.models.collation import Batch
from trainables.models.families.adapter import VLMAdapter


@torch.no_grad()
def vision_features(model: nn.Module, adapter: VLMAdapter, batch: Batch) -> Tensor | None:
    """The projector's input [t, r, c] for the images of a batch, in order; None without images.

    Args:
        model: any model with this vision tower: the dense one, or a student.
        adapter: table of its family.
        batch: image tensors as the forward pass takes them; others are left alone.

    Raises:
        ValueError: the family cannot be replayed.
    """
    refuse_replay(adapter)
    images = {name: batch[name] for name in adapter.image_inputs if name in batch}
    if not images:
        return None
    tower = next(model.get_submodule(adapter.vision_tower).parameters())
    images = {
        name: value.to(tower.device, tower.dtype if value.is_floating_point() else None)
        for name, value in images.items()
    }
    taken: list[Tensor] = []

    def take(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        taken.append(arguments[0])

    hook = model.get_submodule(adapter.projector).register_forward_pre_hook(take)
    try:
        model.model.get_image_features(**images)  # type: ignore[union-attr, operator]
    finally:
        hook.remove()
    (features,) = taken
    return features.detach()


def embed_with_features(
    model: nn.Module, adapter: VLMAdapter, input_ids: Tensor, features: Tensor | None
) -> Tensor:
    """The decoder's input [B, T, H]: embedded tokens, projected features in the images' places.

    `model.model(inputs_embeds=..., attention_mask=...)` then equals the ordinary forward pass.

    Args:
        model: whose projector is used; gradients flow into it.
        adapter: table of its family.
        input_ids: [B, T].
        features: from `vision_features`, the batch's images in order; None without images.

    Raises:
        ValueError: the family cannot be replayed, or the batch's image tokens are not as many as
            the projected rows.
    """
    refuse_replay(adapter)
    embedded: Tensor = model.get_submodule(adapter.embed)(input_ids)
    if features is None:
        return embedded
    projector = model.get_submodule(adapter.projector)
    projected: Tensor = projector(features.to(embedded.device, embedded.dtype))
    places = input_ids == image_token_of(model, adapter)
    rows = projected.numel() // projected.shape[-1]
    if int(places.sum()) != rows:
        raise ValueError(
            f"the batch has {int(places.sum())} image tokens, but its images have {rows} projected "
            "rows; were the features made for other images, or with another processor?"
        )
    return embedded.masked_scatter(places.unsqueeze(-1), projected.to(embedded.dtype))


def image_token_of(model: nn.Module, adapter: VLMAdapter) -> int:
    """Id of a loaded model's image token.

    Not from `config.to_dict()`, a copy that takes 1 to 6 ms and would be made in every step.
    """
    return int(getattr(model.config, adapter.image_token[0]))


def refuse_replay(adapter: VLMAdapter) -> None:
    """Raise unless the family's forward pass can be replayed from the projector's input.

    Raises:
        ValueError: it cannot.
    """
    if not adapter.replays_vision:
        raise ValueError(
            f"{adapter.name}: the vision tower's outputs cannot be kept, because its forward pass "
            "does more with an image than to put projected features in its place; set "
            "recovery.vision_cache='off'"
        )
