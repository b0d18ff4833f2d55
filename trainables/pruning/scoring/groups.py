"""Sums over what is pruned together: the weights of a KV group, or of an MLP neuron.

A group's *tensors* are the parts of `LanguageShape.parts` that it has rows or columns in (q, k, v
and o of a KV group; gate, up and down of a neuron), each with its bias. A fused projection counts
as the parts it holds, so that fusing changes no score.

As in LLM-Pruner (arXiv 2305.11627) a group is put together channel by channel: each row or column
is summed and its magnitude taken; rows of query heads that share a KV group are added up; then the
tensors are reduced; then the channels of a head are added up. A neuron is one channel.

Notation: R rows or columns of a weight along its pruned axis, P tensors, U units, C channels of a
unit (of all its query heads), D channels of one head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.models.families.adapter import VLMAdapter
from trainables.models.families.shape import ATTENTION_PARTS, LanguageShape, Unit

Reduction = Literal["sum", "mean", "max"]


@dataclass(frozen=True)
class GroupedLinear:
    """A linear of a decoder layer, and to which unit and tensor its rows or columns belong.

    Attributes:
        module: the linear.
        unit: what its rows or columns belong to.
        axis: output rows (0) or input columns (1) are pruned.
        units: index of the unit, int64 [R].
        tensors: index of the tensor among those of the unit, int64 [R].
        channels: index of the row or column among those of its unit and tensor, int64 [R].
    """

    module: nn.Linear
    unit: Unit
    axis: Literal[0, 1]
    units: Tensor
    tensors: Tensor
    channels: Tensor

    def parameters(self, biases: bool) -> list[Tensor]:
        """The weight, and its bias where it has one whose entries belong to units."""
        bias = self.module.bias if biases and self.axis == 0 else None
        return [self.module.weight] if bias is None else [self.module.weight, bias]


def grouped_linears(
    layer: nn.Module, adapter: VLMAdapter, shape: LanguageShape
) -> list[GroupedLinear]:
    """The prunable linears of a layer; `shape` is that of the layer itself."""
    device = next(layer.parameters()).device
    attention = [part for part in shape.parts if part in ATTENTION_PARTS]
    mlp = [part for part in shape.parts if part not in ATTENTION_PARTS]
    found = []
    for projection in adapter.projections:
        module = layer.get_submodule(projection.path)
        assert isinstance(module, nn.Linear)
        order = attention if projection.unit == "kv_group" else mlp
        single = [projection.model_copy(update={"parts": (p,)}) for p in projection.parts]
        owners = [one.owners(shape) for one in single]
        tensors = np.repeat(
            [order.index(part) for part in projection.parts], list(map(len, owners))
        )
        found.append(
            GroupedLinear(
                module=module,
                unit=projection.unit,
                axis=projection.axis,
                units=torch.from_numpy(np.concatenate(owners)).to(device),
                tensors=torch.from_numpy(tensors).to(device),
                channels=torch.from_numpy(np.concatenate([*map(_channels, owners)])).to(device),
            )
        )
    return found


def _channels(owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of each row among those of its unit [R]; units have as many rows each, side by side."""
    return np.arange(len(owners), dtype=np.int64) % np.count_nonzero(owners == 0)


class GroupSums:
    """Sums of one layer's weights per tensor, unit and channel [P, U, C], in float64."""

    def __init__(self, shape: LanguageShape, device: torch.device) -> None:
        attention = sum(part in ATTENTION_PARTS for part in shape.parts)
        mlp = len(shape.parts) - attention
        self._head_dim = shape.head_dim
        channels = shape.heads_per_group * shape.head_dim
        sizes: dict[Unit, tuple[int, int, int]] = {
            "kv_group": (attention, shape.num_key_value_heads, channels),
            "neuron": (mlp, shape.intermediate_size, 1),
        }
        self.tables = {
            unit: torch.zeros(size, dtype=torch.float64, device=device)
            for unit, size in sizes.items()
        }

    def add(self, linear: GroupedLinear, values: Tensor, scale: float = 1.0) -> None:
        """Add up the values of a weight [out, in] or of a bias [out], times `scale`, by channel."""
        if values.dim() == 2:
            values = values.sum(dim=1 - linear.axis, dtype=torch.float64)
        table = self.tables[linear.unit]
        # No two rows share a place.
        table[linear.tensors, linear.units, linear.channels] += values.double() * scale

    def scores(self, reduction: Reduction) -> tuple[Tensor, Tensor]:
        """(heads [groups], neurons [neurons]), float64, >= 0."""
        heads, neurons = self.tables["kv_group"].abs(), self.tables["neuron"].abs()
        heads = heads.unflatten(-1, (-1, self._head_dim)).sum(dim=-2)  # [P, U, D]
        return _reduce(heads, reduction).sum(dim=-1), _reduce(neurons, reduction).sum(dim=-1)


def stack_rows(rows: Sequence[Tensor]) -> NDArray[np.float32]:
    """[layers, most units of a layer]; a layer with fewer units has zeros behind its own."""
    stacked = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.float32)
    for line, row in zip(stacked, rows, strict=True):
        line[: len(row)] = row.cpu().numpy()
    return stacked


def _reduce(table: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "max":
        return table.amax(dim=0)
    return table.sum(dim=0) if reduction == "sum" else table.mean(dim=0)
