"""Counts FLOPs of a model whose weights are on the meta device, whatever its inputs ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import flop_registry


class FlopCounter(TorchDispatchMode):
    """Counts by the formulas of torch's own counter, and moves to meta what meets a tensor there.

    Vision towers ask tensors for numbers, such as an image's number of patches or whether it is
    padding, which a meta tensor cannot answer. So inputs are real, weights are on meta, and what
    comes of both is on meta, which plain PyTorch refuses.

    Attributes:
        flops: so far, 2 per multiply-add.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        on_meta = [t.is_meta for t in _tensors(args)]
        if any(on_meta):
            if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype == torch.bool:
                return True  # "is the whole mask set?", of an image without padding
            if not all(on_meta) or "device" in kwargs:
                args, kwargs = tree_map(_to_meta, (args, kwargs))
        out = func(*args, **kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **kwargs, out_val=out))
        return out


def _tensors(args: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The tensors among an operation's arguments, lists of tensors included."""
    for value in args:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _to_meta(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    return torch.device("meta") if isinstance(value, torch.device) else value
