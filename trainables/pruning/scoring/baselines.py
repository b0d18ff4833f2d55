"""Baselines to hold Taylor importance against: magnitude, activation, random.

magnitude   sum of |w| over a group's weights; no data
activation  mean over the covered tokens of ||a||_2, with a the channels that a group hands to
            the output projection (o of a KV group, down of a neuron)  (Minitron, 2407.14679)
random      independent uniform numbers; no data
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainables.models.families.adapter import VLMAdapter
from trainables.pruning.planning.methods import criterion_settings
from trainables.pruning.planning.scores import ImportanceScores, ScoreMetadata
from trainables.pruning.scoring.calibration import Combine, alone, check_batches, forward_pass
from trainables.pruning.scoring.groups import (
    GroupedLinear,
    GroupSums,
    grouped_linears,
    stack_rows,
)
from trainables.pruning.scoring.layer_stream import decoder_layers
from trainables.specs import ImportanceSpec

RANDOM_SALT = 2  # keeps the scores apart from other draws of the same seed


@torch.no_grad()
def score_magnitude(
    model: PreTrainedModel, adapter: VLMAdapter, spec: ImportanceSpec
) -> ImportanceScores:
    """Sum of absolute weights of every KV group and neuron; `reduction` and `biases` are read."""
    rows = []
    for linears, sums in _layers(model, adapter):
        for linear in linears:
            for parameter in linear.parameters(spec.biases):
                sums.add(linear, parameter.detach().float().abs())
        rows.append(sums.scores(spec.reduction))
    return _scores(rows, "magnitude", spec)


def score_random(
    model: PreTrainedModel, adapter: VLMAdapter, spec: ImportanceSpec, seed: int
) -> ImportanceScores:
    """Uniform numbers in [0, 1), drawn from `seed` on the CPU."""
    draw = np.random.default_rng((seed, RANDOM_SALT))
    rows = [
        tuple(torch.from_numpy(draw.random(table.shape[1])) for table in sums.tables.values())
        for _, sums in _layers(model, adapter)
    ]
    return _scores(rows, "random", spec, seed=seed)


@torch.no_grad()
def score_activation(
    model: PreTrainedModel,
    adapter: VLMAdapter,
    batches: Sequence[Mapping[str, Tensor]],
    spec: ImportanceSpec,
    combine: Combine = alone,
) -> ImportanceScores:
    """Mean activation norm of every KV group and neuron; `tokens` is read.

    Raises:
        ValueError: if there is no calibration data, none with an image, no token is covered, or
            activations are NaN or infinite.
    """
    check_batches(batches)
    table = list(_layers(model, adapter))
    masks: list[Tensor] = []  # covered tokens, of every batch so far

    def hook(linear: GroupedLinear, sums: GroupSums) -> Any:
        def called(_: nn.Module, args: tuple[Any, ...]) -> None:
            channels = args[0][masks[-1]].float().square()  # [covered tokens, channels]
            units = sums.tables[linear.unit].shape[1]
            norms = channels.new_zeros(len(channels), units).index_add_(1, linear.units, channels)
            sums.tables[linear.unit][0, :, 0] += norms.sqrt_().sum(dim=0, dtype=torch.float64)

        return called

    handles = [
        linear.module.register_forward_pre_hook(hook(linear, sums))
        for linears, sums in table
        for linear in linears
        if linear.axis == 1
    ]
    passed = forward_pass(model, adapter, batches, spec.tokens, handles, masks.append, combine)
    rows = []
    for index, (_, sums) in enumerate(table):
        for one in sums.tables.values():
            combine(one)
            if not torch.isfinite(one).all():
                raise ValueError(
                    f"the activations of layer {index} are NaN or infinite, so nothing can be "
                    "ranked; check its weights, or score in float32 or bfloat16"
                )
        rows.append(tuple(one[0, :, 0] / passed.tokens for one in sums.tables.values()))
    return _scores(rows, "activation", spec, **passed._asdict())


def _layers(model: PreTrainedModel, adapter: VLMAdapter) -> Any:
    """(linears, empty sums) of every layer."""
    shape = adapter.language_shape(model.config.to_dict())
    for layer in decoder_layers(model, adapter):
        own = adapter.layer_shape(layer, shape)
        yield grouped_linears(layer, adapter, own), GroupSums(own, model.device)


def _scores(
    rows: Sequence[Any], criterion: Any, spec: ImportanceSpec, **provenance: Any
) -> ImportanceScores:
    settings = criterion_settings(criterion, spec)
    return ImportanceScores(
        metadata=ScoreMetadata(method="widthwise", settings=settings, **provenance),
        heads=stack_rows([heads for heads, _ in rows]),
        neurons=stack_rows([neurons for _, neurons in rows]),
    )
