"""Structured dropout of the backbone: whole layers, heads and neurons (after LayerDrop, Fan 2019).

It gives a small backbone the redundancy of a large one, so that pruning degrades it step by step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class StructuredDropout:
    """Drops layers, heads and neurons anew for every training step, without rescaling the rest."""

    def __init__(self, backbone: Any, layers: float, width: float, seed: int) -> None:
        """Hook into `backbone`.

        Args:
            backbone: a Llama model.
            layers: largest share of layers dropped; each step draws its own share below it.
            width: the same for heads and neurons.
            seed: of all draws.
        """
        self._layers, self._width = layers, width
        self._generator = torch.Generator().manual_seed(seed)
        self._rate = 0.0
        self._heads: int = backbone.config.num_attention_heads
        self._count = len(backbone.layers)
        for layer in backbone.layers:
            layer.self_attn.o_proj.register_forward_pre_hook(self._drop_heads)
            layer.mlp.down_proj.register_forward_pre_hook(self._drop_neurons)

    def draw(self) -> list[bool]:
        """Which layers this step keeps; also draws this step's share of heads and neurons."""
        draws = torch.rand(self._count + 2, generator=self._generator)
        self._rate = float(draws[0]) * self._width
        keep: list[bool] = (draws[2:] >= draws[1] * self._layers).tolist()
        return keep

    def _mask(self, count: int) -> Tensor:
        return (torch.rand(count, generator=self._generator) >= self._rate).float()

    def _drop_heads(self, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
        if not (module.training and self._rate):
            return None
        head_dim = args[0].shape[-1] // self._heads
        return (args[0] * self._mask(self._heads).repeat_interleave(head_dim),)

    def _drop_neurons(self, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
        if not (module.training and self._rate):
            return None
        return (args[0] * self._mask(args[0].shape[-1]),)
