"""The frozen models of one trial: its teacher, and what the vision tower says, computed or kept.

The samples are run through in fixed blocks of the data's seeded permutation, whichever trial comes
first and however much of the data it trains on. So every sample shares its batches with the same
others, and what is kept does not depend, down to the last bit on a CPU, on the order of the trials.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from trainables.inputs import Inputs
from trainables.models.collation import Batch, move
from trainables.models.dense import DenseModel
from trainables.models.teachers import refuse_foreign_teacher
from trainables.provenance import Clock
from trainables.pruning.planner import PrunePlan
from trainables.recovery.cache_keys import sample_key, teacher_content
from trainables.recovery.cached_teacher import cached_teacher
from trainables.recovery.features import CachedFeatures, Features, SharedFeatures
from trainables.recovery.int8 import quantize_int8
from trainables.recovery.layer_maps import teacher_states
from trainables.recovery.objective import hidden_states
from trainables.recovery.targets import Teacher, TeacherNeeds, teacher_needs
from trainables.recovery.teacher import OnlineTeacher
from trainables.recovery.teacher_cache import Source
from trainables.recovery.vision_cache import ensure_features, vision_store
from trainables.specs import Dtype

BLOCK = 256  # samples that are run through together


@dataclass(frozen=True)
class FrozenParts:
    """What a recovery asks of models that do not change; None is not needed, or not set apart."""

    teacher: Teacher | None
    features: Features | None


def frozen_parts(inputs: Inputs, plan: PrunePlan, clock: Clock) -> FrozenParts:
    """Teacher and vision features of a trial; fills their caches where the spec asks for them.

    Raises:
        ValueError: the teacher reads other tokens than the student, or a cache has no room.
    """
    recovery = inputs.spec.recovery
    features: Features | None = None
    if recovery.vision_cache == "on":
        with clock("vision cache"):
            features = _cached_features(inputs)
    if not recovery.loss.needs_teacher:
        return FrozenParts(None, features)
    model = inputs.teacher
    refuse_foreign_teacher(inputs.dense.folder, model.folder)
    layers = model.shape.num_hidden_layers
    needs = teacher_needs(recovery.loss, teacher_states(recovery.loss, plan.layers, layers))
    own_tower = model is not inputs.dense  # its features are not the student's
    if recovery.teacher.mode == "cached":
        with clock("teacher cache"):
            return FrozenParts(
                _cached_teacher(inputs, needs, None if own_tower else features), features
            )
    teacher = OnlineTeacher(_teaching_model(inputs), needs, model.adapter, own_tower=own_tower)
    if features is None and not own_tower and model.adapter.replays_vision:
        features = SharedFeatures(model.model, model.adapter)
    return FrozenParts(teacher, features)


def _cached_features(inputs: Inputs) -> Features:
    dense, encoder = inputs.dense, inputs.encoder
    store = vision_store(inputs.store.root, dense.model, dense.adapter, dense.processor)
    files: dict[str, tuple[Path, str]] = {}  # by content key: an image, and a sample that shows it
    blocks: list[list[str]] = []
    for block in _blocks(inputs):
        shown = {
            key: (path, encoder.data.conversations[index].id)
            for index in block
            for key, path in zip(encoder.image_keys(index), encoder.images(index), strict=True)
        }
        blocks.append([key for key in shown if key not in files])
        files |= shown
    limit = inputs.spec.recovery.teacher.max_cache_gib

    def load(key: str) -> Batch:
        return encoder.pixels.tensors(*files[key])

    ensure_features(store, blocks, load, dense.model, dense.adapter, max_gib=limit)
    return CachedFeatures(store, encoder, dense.model.device)


def _cached_teacher(inputs: Inputs, needs: TeacherNeeds, features: Features | None) -> Teacher:
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
        key=lambda i: sample_key(*encoder.tokens(i), encoder.image_keys(i)),
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
        teacher_content(model.weights_digest, model.processor, compute, spec.quantize),
        needs,
        spec,
        list(_blocks(inputs)),
        source,
        compute=compute,
        device=inputs.dense.model.device,
    )


def _blocks(inputs: Inputs) -> Iterator[list[int]]:
    """The trial's samples, and those that fill up its last block."""
    encoder, recovery = inputs.encoder, inputs.spec.recovery
    seed = inputs.spec.seeds.data
    order = encoder.data.subset(1.0, seed)
    count = len(encoder.data.subset(recovery.data_fraction, seed))
    for at in range(0, count, BLOCK):
        block = order[at : at + BLOCK]
        usable, _ = encoder.usable(block, skip_broken=True)
        yield [int(i) for i in usable]


def _teaching_model(inputs: Inputs) -> nn.Module:
    if inputs.spec.recovery.teacher.quantize == "int8":
        return _int8(inputs.teacher)
    return inputs.teacher.model


@functools.lru_cache(maxsize=1)
def _int8(model: DenseModel) -> nn.Module:
    return quantize_int8(model.model, model.adapter)
