"""Counting a deep tower on the meta device without running every layer of it.

Layers of one class and one shape that get alike inputs do the same work. On the meta device they
return the same thing too, a shape, so one of them may stand for all.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten

from trainables.efficiency.flop_counter import FlopCounter


def count_equal_layers_once(tower: nn.Module, counter: FlopCounter) -> None:
    """Let every list of layers in `tower`, a copy on meta, run one layer of each kind.

    The work of the others is added to `counter` as it was counted for the first.
    """
    seen: dict[Hashable, tuple[int, Any]] = {}
    for module in tower.modules():
        if isinstance(module, nn.ModuleList):
            for layer in module:
                layer.forward = _once(layer, layer.forward, seen, counter)


def _once(
    layer: nn.Module,
    forward: Callable[..., Any],
    seen: dict[Hashable, tuple[int, Any]],
    counter: FlopCounter,
) -> Callable[..., Any]:
    sizes = tuple((name, tuple(p.shape)) for name, p in layer.named_parameters())

    def run(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree_flatten((args, kwargs))
        key = (type(layer), sizes, str(structure), tuple(_kind(leaf) for leaf in leaves))
        if key not in seen:
            before = counter.flops
            output = forward(*args, **kwargs)
            seen[key] = counter.flops - before, output
            return output
        flops, output = seen[key]
        counter.flops += flops
        return output

    return run


def _kind(leaf: Any) -> Hashable:
    """What of an argument may change the work: shapes, and integers such as window borders."""
    if not isinstance(leaf, torch.Tensor):
        return leaf if isinstance(leaf, int | float | str | None) else id(leaf)
    steers = not leaf.is_meta and not leaf.is_floating_point()
    return tuple(leaf.shape), leaf.dtype, tuple(leaf.flatten().tolist()) if steers else None
