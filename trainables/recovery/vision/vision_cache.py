"""The frozen vision tower's outputs on disk: every image passes through the tower once per sweep.

Kept is the projector's input, see `vision`; whoever projects it has a projector of its own.

Shapes: t tiles of an image (one, or several), r rows and c channels in front of the projector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.models.collation import Batch, image_batch
from trainables.models.families.adapter import VLMAdapter
from trainables.recovery.teacher.cache_keys import image_settings, vision_settings
from trainables.recovery.teacher.cache_progress import Progress, refuse_without_room
from trainables.recovery.teacher.sample_store import SampleStore
from trainables.recovery.vision.vision import refuse_replay, vision_features

KIND = "vision"
_FEATURES = "features"


def vision_store(
    root: Path, model: nn.Module, adapter: VLMAdapter, processor: Any, order: int | None = None
) -> SampleStore:
    """The store of this vision tower and these processor settings; shared by models that have both.

    Args:
        root: the store's folder.
        model: with the vision tower.
        adapter: table of its family.
        processor: of its family.
        order: what else the last bits depend on (see `trainables.trial.teacher`).

    Raises:
        ValueError: the family cannot be replayed.
    """
    refuse_replay(adapter)
    tower = next(model.get_submodule(adapter.vision_tower).parameters())
    key = {
        "vision": vision_settings(model, adapter),
        "images": image_settings(processor),
        "order": order,
        "dtype": str(tower.dtype).removeprefix("torch."),
    }
    return SampleStore(root, KIND, key)


def ensure_features(
    store: SampleStore,
    blocks: Sequence[Sequence[str]],
    load: Callable[[str], Batch],
    model: nn.Module,
    adapter: VLMAdapter,
    *,
    max_gib: float,
    images_per_batch: int = 32,
) -> None:
    """Run the tower over the images that the store lacks; every rank and trial may call it.

    Args:
        store: from `vision_store` of the same model.
        blocks: content keys of images that share their batches, also where only some are missing
            (see `teacher_cache.ensure_targets`).
        load: the tensors of one image, as the processor makes them for it alone.
        model: with the vision tower.
        adapter: table of its family.
        max_gib: the store may not grow beyond this.
        images_per_batch: images in one pass through the tower.

    Raises:
        ValueError: the store would outgrow its limit or the disk. Where images differ in tiles the
            size is estimated from the first batch; what was computed until then is kept.
    """
    store.refresh()
    missing = store.missing(key for block in blocks for key in block)
    progress = None
    for block in blocks:
        if not store.missing(block):
            continue
        with store.writing(max_bytes=int(max_gib * 2**30)) as writer:
            absent = set(store.missing(block))
            keys = list(dict.fromkeys(block))
            for at in range(0, len(keys), images_per_batch):
                batch = keys[at : at + images_per_batch]
                if not absent & set(batch):
                    continue
                parts = _features([load(key) for key in batch], model, adapter)
                if progress is None:
                    size = sum(p.numel() * p.element_size() for p in parts) / len(parts)
                    progress = _begin(store, len(missing), size, max_gib)
                for key, features in zip(batch, parts, strict=True):
                    if key in absent:
                        writer.add(key, {_FEATURES: features})
        if progress is not None:
            progress.done(len(missing) - len(store.missing(missing)))


def _begin(store: SampleStore, images: int, image_bytes: float, max_gib: float) -> Progress:
    """Announce the size, unless there is no room for it."""
    refuse_without_room(
        "the cache of vision features",
        store.folder,
        image_bytes * images,
        store.nbytes,
        max_gib * 2**30,
        "raise teacher.max_cache_gib, which limits it too, lower data_fraction, or set "
        "recovery.vision_cache='off'",
    )
    return Progress("vision cache", images, image_bytes * images)


def read_features(store: SampleStore, images: Sequence[str], device: torch.device) -> Tensor | None:
    """Features [t, r, c] of the images, one after the other; None without images.

    Raises:
        ValueError: an image is not in the store.
    """
    if not images:
        return None
    missing = store.missing(images)
    if missing:
        raise ValueError(
            f"{len(missing)} images are not in the vision cache {store.folder.name}, the first is "
            f"{missing[0]}; fill it with `ensure_features` first"
        )
    parts = [store.read(key)[_FEATURES] for key in images]
    return torch.cat(parts).to(device, non_blocking=True)


def _features(samples: list[Batch], model: nn.Module, adapter: VLMAdapter) -> list[Tensor]:
    """The features [t, r, c] of each image, on the CPU."""
    batch = image_batch(samples, adapter)
    features = vision_features(model, adapter, batch)
    assert features is not None
    # Idefics3 counts its tiles (frames) in the second dimension, the others in the first.
    frames = adapter.image_inputs["pixel_values"] == "pad"
    shapes = [sample["pixel_values"].shape for sample in samples]
    tiles = [shape[0] * shape[1] if frames else shape[0] for shape in shapes]
    if sum(tiles) != len(features):
        raise ValueError(
            f"{adapter.name}: {len(samples)} images have {sum(tiles)} tiles, but the vision tower "
            f"answered to {len(features)}; one of them is empty (all of its pixels are 0)"
        )
    return list(features.cpu().split(tiles))
