"""Where the vision features of a micro-batch come from, when its images are not simply looked at.

The frozen vision tower says the same in every step, and the same to teacher and student (see
`vision`): its output is read from the store, or computed once per micro-batch for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from trainables.models.collation import Batch
from trainables.models.families.adapter import VLMAdapter
from trainables.recovery.encode.encoder import Encoder
from trainables.recovery.loss.objective import FEATURES
from trainables.recovery.teacher.sample_store import SampleStore
from trainables.recovery.vision.vision import vision_features
from trainables.recovery.vision.vision_cache import read_features


class Features(Protocol):
    """Puts vision features into batches.

    Attributes:
        name: for the record: `cached` or `shared`.
        needs_images: whether it reads the batch's image tensors.
        towers: passes of the vision tower per image and step.
    """

    name: str
    needs_images: bool
    towers: int

    def __call__(self, indices: Sequence[int], batch: Batch) -> Batch:
        """The batch with `FEATURES` in place of its image tensors; as it is without images."""
        ...


class CachedFeatures:
    """Reads features from the store, which holds every image that it is asked for."""

    name, needs_images, towers = "cached", False, 0

    def __init__(self, store: SampleStore, encoder: Encoder, device: torch.device) -> None:
        """Take a store that `ensure_features` has filled for the images of this encoder."""
        self._store, self._encoder, self._device = store, encoder, device
        self._keys: dict[int, tuple[str, ...]] = {}

    def __call__(self, indices: Sequence[int], batch: Batch) -> Batch:
        """See `Features`."""
        for index in indices:
            if index not in self._keys:
                self._keys[index] = self._encoder.image_keys(index)
        images = [key for index in indices for key in self._keys[index]]
        features = read_features(self._store, images, self._device)
        return batch if features is None else {**batch, FEATURES: features}


class SharedFeatures:
    """Runs the tower once per micro-batch, for teacher and student together."""

    name, needs_images, towers = "shared", True, 1

    def __init__(self, model: nn.Module, adapter: VLMAdapter) -> None:
        """Take the dense model, whose tower is the student's too."""
        self._model, self._adapter = model, adapter

    def __call__(self, indices: Sequence[int], batch: Batch) -> Batch:
        """See `Features`."""
        features = vision_features(self._model, self._adapter, batch)
        if features is None:
            return batch
        rest = {k: v for k, v in batch.items() if k not in self._adapter.image_inputs}
        return {**rest, FEATURES: features}
