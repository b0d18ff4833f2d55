"""The teacher of one trial: the dense model or another one, online or from a cache.

A cache is filled in fixed blocks of the data's seeded permutation (see `blocks`), whichever trial
comes first and however much of the data it trains on, and on a CPU every permutation has a cache of
its own. So a sample shares its batches with the same others, and what is cached does not depend,
down to the last bit on a CPU, on the order of the trials.
"""

import errno
import functools

import torch
from torch import nn

from trainables.common.clock import Clock
from trainables.models.collation import Batch, move
from trainables.models.dense import DenseModel
from trainables.models.teachers import refuse_foreign_teacher
from trainables.pruning.planning.planner import PrunePlan
from trainables.recovery.data.rows import BrokenSampleError
from trainables.recovery.loss.layer_maps import TeacherNeeds, teacher_states
from trainables.recovery.loss.objective import hidden_states
from trainables.recovery.loss.targets import Teacher, teacher_needs
from trainables.recovery.teacher.blocks import blocks_of
from trainables.recovery.teacher.cache import Source, sample_key
from trainables.recovery.teacher.cached import cached_teacher
from trainables.recovery.teacher.int8 import quantize_int8
from trainables.recovery.teacher.online import OnlineTeacher
from trainables.recovery.teacher.sample_store import NoRoomError
from trainables.specs import Dtype
from trainables.trial.inputs import Inputs
from trainables.trial.jobs import Caches
from trainables.trial.keys import computes, shows


def trial_teacher(inputs: Inputs, plan: PrunePlan, caches: Caches, clock: Clock) -> Teacher | None:
    """The teacher of a trial, its cache filled; None where the loss needs none.

    `caches` says what its `auto` mode stands for; where there is no room, the teacher runs online.
    `clock` counts the filling as a stage of its own.

    Raises:
        ValueError: the teacher reads other tokens than the student, or a cache that the spec asks
            for has no room.
    """
    recovery, spec = inputs.spec.recovery, inputs.spec.recovery.teacher
    if not recovery.loss.needs_teacher:
        return None
    model = inputs.teacher
    refuse_foreign_teacher(inputs.dense.folder, model.folder)
    layers = model.shape.num_hidden_layers
    needs = teacher_needs(recovery.loss, teacher_states(recovery.loss, plan.layers, layers))
    asked = spec.mode == "cached" or spec.form == "top_k"
    if asked or (spec.mode == "auto" and caches.teacher):
        try:
            with clock("teacher cache"):
                try:
                    return _cached(inputs, needs, _blocks(inputs, whole=True))
                except BrokenSampleError:  # maybe one beyond the trial's own samples
                    return _cached(inputs, needs, _blocks(inputs, whole=False))
        except (NoRoomError, OSError) as error:
            full = isinstance(error, NoRoomError) or error.errno == errno.ENOSPC
            if asked or not full:
                raise
            print(f"no cache: {error}; computing in every step instead", flush=True)
    return OnlineTeacher(_teaching_model(inputs), needs, model.adapter)


def _cached(inputs: Inputs, needs: TeacherNeeds, blocks: list[list[int]]) -> Teacher:
    model, spec, encoder = inputs.teacher, inputs.spec.recovery.teacher, inputs.encoder
    teaching = _teaching_model(inputs)
    weight = next(model.model.parameters())
    compute: Dtype = str(weight.dtype).removeprefix("torch.")  # type: ignore[assignment]

    def collate(indices: list[int]) -> Batch:
        return move(encoder.batch(indices), weight.device, weight.dtype)

    def states(batch: Batch, wanted: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        return hidden_states(teaching, batch, wanted[:-1], model.adapter)

    head = teaching.lm_head
    assert isinstance(head, nn.Module)
    source = Source(
        # Asked for when the cache is looked up, filled and read; each looks at the image files.
        key=functools.cache(lambda i: sample_key(*encoder.tokens(i), encoder.image_digests(i))),
        tokens=encoder.tokens,
        collate=collate,
        states=states,
        head=head,
        layers=model.shape.num_hidden_layers,
        hidden_size=model.shape.hidden_size,
        image_token_id=model.adapter.image_token_id(model.model.config.to_dict()),
    )
    # On a CPU, cached bits depend on who shares a batch, that is on the seed of the blocks; a GPU
    # repeats nothing to the last bit anyway, and there other seeds share a cache.
    device = inputs.dense.model.device
    order = inputs.spec.seeds.data if device.type == "cpu" else None
    content = {
        **computes(model),
        "quantize": spec.quantize,
        # The student's processor reads, whoever teaches. The keys of samples hold their token ids.
        "images": shows(inputs.dense),
        "order": str(order),
    }
    return cached_teacher(
        inputs.store.root, content, needs, spec, blocks, source, compute=compute, device=device
    )


def _blocks(inputs: Inputs, whole: bool) -> list[list[int]]:
    """The trial's samples, and with `whole` those that fill up its last block."""
    encoder, recovery = inputs.encoder, inputs.spec.recovery
    seed = inputs.spec.seeds.data
    count = len(encoder.data.subset(recovery.data_fraction, seed))
    order = encoder.data.subset(1.0, seed)
    blocks = []
    for start, end in blocks_of(count, len(order)):
        chosen = order[start : end if whole else min(end, count)]
        found = [int(i) for i in chosen if not encoder.fault(int(i))]
        blocks += [found] if found else []
    return blocks


def _teaching_model(inputs: Inputs) -> nn.Module:
    if inputs.spec.recovery.teacher.quantize == "int8":
        return _int8(inputs.teacher)
    return inputs.teacher.model


@functools.lru_cache(maxsize=1)
def _int8(model: DenseModel) -> nn.Module:
    return quantize_int8(model.model, model.adapter)
