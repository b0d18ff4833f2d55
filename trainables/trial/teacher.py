"""The frozen models of one trial: its teacher, and what the vision tower says, computed or kept.

The samples are run through in fixed blocks of the data's seeded permutation, whichever trial comes
first and however much of the data it trains on, and on a CPU every permutation has a cache of its
own. So a sample shares its batches with the same others, and what is kept does not depend, down to
the last bit on a CPU, on the order of the trials.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from trainables.common.provenance import Clock
from trainables.models.collation import Batch, move
from trainables.models.dense import DenseModel
from trainables.models.teachers import refuse_foreign_teacher
from trainables.pruning.planning.planner import PrunePlan
from trainables.recovery.data.rows import BrokenSampleError
from trainables.recovery.loss.layer_maps import teacher_states
from trainables.recovery.loss.objective import hidden_states
from trainables.recovery.loss.targets import Teacher, TeacherNeeds, teacher_needs
from trainables.recovery.teacher.cache import Source
from trainables.recovery.teacher.cache_keys import sample_key, teacher_content
from trainables.recovery.teacher.cache_progress import NoRoomError
from trainables.recovery.teacher.cached import cached_teacher
from trainables.recovery.teacher.int8 import quantize_int8
from trainables.recovery.teacher.online import OnlineTeacher
from trainables.recovery.vision.features import CachedFeatures, Features, SharedFeatures
from trainables.recovery.vision.vision_cache import ensure_features, vision_store
from trainables.specs import Dtype
from trainables.trial.inputs import Inputs
from trainables.trial.jobs import Caches

BLOCK = 256  # samples that are run through together
Filled = TypeVar("Filled")
Blocks = list[list[int]]


@dataclass(frozen=True)
class FrozenParts:
    """What a recovery asks of models that do not change; None is not needed, or not set apart."""

    teacher: Teacher | None
    features: Features | None


def frozen_parts(inputs: Inputs, plan: PrunePlan, caches: Caches, clock: Clock) -> FrozenParts:
    """Teacher and vision features of a trial; fills their caches.

    Args:
        inputs: the trial's inputs.
        plan: its student.
        caches: what its `auto` settings stand for; where there is no room, nothing is kept.
        clock: counts the filling as stages of its own.

    Raises:
        ValueError: the teacher reads other tokens than the student, or a cache that the spec asks
            for has no room.
    """
    recovery, spec = inputs.spec.recovery, inputs.spec.recovery.teacher
    features: Features | None = None
    blocks: Blocks | None = None
    if recovery.vision_cache == "on" or (recovery.vision_cache == "auto" and caches.vision):
        with clock("vision cache"), _or_without(recovery.vision_cache == "auto"):
            features, blocks = _in_blocks(inputs, partial(_fill_features, inputs))
    if not recovery.loss.needs_teacher:
        return FrozenParts(None, features)
    model = inputs.teacher
    refuse_foreign_teacher(inputs.dense.folder, model.folder)
    layers = model.shape.num_hidden_layers
    needs = teacher_needs(recovery.loss, teacher_states(recovery.loss, plan.layers, layers))
    own_tower = model is not inputs.dense  # its features are not the student's
    asked = spec.mode == "cached" or spec.form == "top_k"
    if asked or (spec.mode == "auto" and caches.teacher):
        with clock("teacher cache"), _or_without(not asked):
            seen = None if own_tower else features
            fill = partial(_fill_answers, inputs, needs, seen)
            teacher, _ = _in_blocks(inputs, fill, None if own_tower else blocks)
            return FrozenParts(teacher, features)
    online = OnlineTeacher(_teaching_model(inputs), needs, model.adapter, own_tower=own_tower)
    if features is None and not own_tower and model.adapter.replays_vision:
        features = SharedFeatures(model.model, model.adapter)
    return FrozenParts(online, features)


@contextmanager
def _or_without(allowed: bool) -> Iterator[None]:
    """Go on without a cache for which there is no room, and say so, where that is allowed."""
    try:
        yield
    except (NoRoomError, OSError) as error:
        full = isinstance(error, NoRoomError) or error.errno == errno.ENOSPC
        if not (full and allowed):
            raise
        print(f"no cache: {error}; computing in every step instead", flush=True)


def _fill_features(inputs: Inputs, samples: Blocks) -> Features:
    dense, encoder = inputs.dense, inputs.encoder
    store = vision_store(
        inputs.store.root, dense.model, dense.adapter, dense.processor, _order(inputs)
    )
    files: dict[str, tuple[Path, str]] = {}  # by content key: an image, and a sample that shows it
    blocks: list[list[str]] = []
    for block in samples:
        shown = {
            key: (path, encoder.data.conversations[index].id)
            for index in block
            for key, path in zip(encoder.image_keys(index), encoder.images(index), strict=True)
        }
        blocks.append([key for key in shown if key not in files])
        files |= shown
    limit = inputs.spec.recovery.teacher.max_cache_gib

    def load(key: str) -> Batch:
        return encoder.image_inputs.tensors(*files[key])

    ensure_features(store, blocks, load, dense.model, dense.adapter, max_gib=limit)
    return CachedFeatures(store, encoder, dense.model.device)


def _fill_answers(
    inputs: Inputs, needs: TeacherNeeds, features: Features | None, samples: Blocks
) -> Teacher:
    model, spec, encoder = inputs.teacher, inputs.spec.recovery.teacher, inputs.encoder
    teaching = _teaching_model(inputs)
    weight = next(model.model.parameters())
    compute: Dtype = str(weight.dtype).removeprefix("torch.")  # type: ignore[assignment]

    def collate(indices: list[int]) -> Batch:
        batch = encoder.batch(indices, images=features is None)
        batch = move(batch, weight.device, weight.dtype)
        return batch if features is None else features(indices, batch)

    def states(batch: Batch, wanted: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        return hidden_states(teaching, batch, wanted[:-1], model.adapter)

    head = teaching.lm_head
    assert isinstance(head, nn.Module)
    source = Source(
        # Asked for when the cache is looked up, filled and read; each looks at the image files.
        key=functools.cache(lambda i: sample_key(*encoder.tokens(i), encoder.image_keys(i))),
        tokens=encoder.tokens,
        collate=collate,
        states=states,
        head=head,
        layers=model.shape.num_hidden_layers,
        hidden_size=model.shape.hidden_size,
        image_token_id=model.adapter.image_token_id(model.model.config.to_dict()),
    )
    return cached_teacher(
        inputs.store.root,
        # The images come from the student's processor, whoever teaches.
        teacher_content(model.weights_digest, inputs.dense.processor, compute, spec.quantize)
        | {"order": str(_order(inputs))},
        needs,
        spec,
        samples,
        source,
        compute=compute,
        device=inputs.dense.model.device,
    )


def _in_blocks(
    inputs: Inputs, fill: Callable[[Blocks], Filled], blocks: Blocks | None = None
) -> tuple[Filled, Blocks]:
    """Fill a cache in whole blocks; in the trial's own samples alone if one beyond is broken.

    Args:
        inputs: the trial's inputs.
        fill: fills the cache with the samples of some blocks.
        blocks: those that another cache was filled with, on which this one builds.

    Returns:
        What `fill` returned, and the blocks.
    """
    if blocks is not None:
        return fill(blocks), blocks
    try:
        blocks = _blocks(inputs, whole=True)
        return fill(blocks), blocks
    except BrokenSampleError:
        blocks = _blocks(inputs, whole=False)
        return fill(blocks), blocks


def _blocks(inputs: Inputs, whole: bool) -> Blocks:
    """The trial's samples, and with `whole` those that fill up its last block."""
    encoder, recovery = inputs.encoder, inputs.spec.recovery
    seed = inputs.spec.seeds.data
    count = len(encoder.data.subset(recovery.data_fraction, seed))
    order = encoder.data.subset(1.0, seed)[: -(-count // BLOCK) * BLOCK if whole else count]
    blocks = []
    for at in range(0, len(order), BLOCK):
        found = [int(i) for i in order[at : at + BLOCK] if not encoder.fault(int(i))]
        blocks += [found] if found else []
    return blocks


def _order(inputs: Inputs) -> int | None:
    """The seed of the blocks, where what is kept depends on them to the last bit: on a CPU.

    A GPU repeats nothing to the last bit anyway, and there other seeds share what is kept.
    """
    return inputs.spec.seeds.data if inputs.dense.model.device.type == "cpu" else None


def _teaching_model(inputs: Inputs) -> nn.Module:
    if inputs.spec.recovery.teacher.quantize == "int8":
        return _int8(inputs.teacher)
    return inputs.teacher.model


@functools.lru_cache(maxsize=1)
def _int8(model: DenseModel) -> nn.Module:
    return quantize_int8(model.model, model.adapter)
