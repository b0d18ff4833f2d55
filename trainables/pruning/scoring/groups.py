"""Sums over what is pruned together: the weights of a KV group, or of an MLP neuron.

A group's *tensors* are the parts of `LanguageShape.parts` that it has rows or columns in (q, k, v
and o of a KV group; gate, up and down of a neuron), each with its bias. A fused projection counts
as the parts it holds, so that fusing changes no score.

Notation: R rows or columns of a weight along its pruned axis, P tensors, U units.
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
    """

    module: nn.Linear
    unit: Unit
    axis: Literal[0, 1]
    units: Tensor
    tensors: Tensor

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
        sizes = [len(one.owners(shape)) for one in single]
        tensors = np.repeat([order.index(part) for part in projection.parts], sizes)
        found.append(
            GroupedLinear(
                module=module,
                unit=projection.unit,
                axis=projection.axis,
                units=torch.from_numpy(projection.owners(shape)).to(device),
                tensors=torch.from_numpy(tensors).to(device),
            )
        )
    return found


class GroupSums:
    """Sums of one layer's weights per unit and tensor, in float64."""

    def __init__(self, shape: LanguageShape, device: torch.device) -> None:
        attention = sum(part in ATTENTION_PARTS for part in shape.parts)
        mlp = len(shape.parts) - attention
        sizes: dict[Unit, tuple[int, int]] = {  # [P, U]
            "kv_group": (attention, shape.num_key_value_heads),
            "neuron": (mlp, shape.intermediate_size),
        }
        self.tables = {
            unit: torch.zeros(size, dtype=torch.float64, device=device)
            for unit, size in sizes.items()
        }

    def add(self, linear: GroupedLinear, values: Tensor, scale: float = 1.0) -> None:
        """Add up the values of a weight [out, in] or of a bias [out], times `scale`, by group."""
        if values.dim() == 2:
            values = values.sum(dim=1 - linear.axis, dtype=torch.float64)
        table = self.tables[linear.unit]
        table.index_put_((linear.tensors, linear.units), values.double() * scale, accumulate=True)

    def scores(self, reduction: Reduction) -> tuple[Tensor, Tensor]:
        """(heads [groups], neurons [neurons]): the magnitude of the reduced tensors, float64.

        Sums that cancel (`vectorize`) have a sign: `sum` and `mean` take it into account across
        tensors, `max` is over the magnitudes.
        """
        return tuple(_reduce(table, reduction) for table in self.tables.values())  # type: ignore[return-value]


def stack_rows(rows: Sequence[Tensor]) -> NDArray[np.float32]:
    """[layers, most units of a layer]; a layer with fewer units has zeros behind its own."""
    stacked = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.float32)
    for line, row in zip(stacked, rows, strict=True):
        line[: len(row)] = row.cpu().numpy()
    return stacked


def _reduce(table: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "max":
        return table.abs().amax(dim=0)
    return (table.sum(dim=0) if reduction == "sum" else table.mean(dim=0)).abs()
