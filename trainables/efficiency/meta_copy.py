"""Copies of models without data, and what watches the operations of a pass through one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map


def on_meta(model: nn.Module, attention: str = "eager") -> Any:
    """A copy of the model without data, in eval mode: any pruned shape, no memory.

    A copy rather than a model built from the config, because no config knows per-layer widths.

    Args:
        model: not changed.
        attention: implementation; `eager` is plain products, which every torch version counts
            alike, where fused kernels are counted differently or not at all.
    """
    ghosts: dict[int, Any] = {}
    for parameter in model.parameters():
        ghosts[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
    for buffer in model.buffers():
        ghosts[id(buffer)] = torch.empty_like(buffer, device="meta")
    ghost: Any = copy.deepcopy(model, ghosts)
    ghost.set_attn_implementation(attention)
    return ghost.eval()


class MetaMode(TorchDispatchMode):
    """Moves to meta what meets a tensor there, and shows every operation to `seen`.

    Vision towers ask tensors for numbers, such as an image's number of patches or whether it is
    padding, which a meta tensor cannot answer. So inputs are real, weights are on meta, and what
    comes of both is on meta, which plain PyTorch refuses.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Called after every operation with what it got and gave."""
        raise NotImplementedError

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        on_meta = [t.is_meta for t in tensors_in(args)]
        if any(on_meta):
            if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype == torch.bool:
                return True  # "is the whole mask set?", of an image without padding
            if not all(on_meta) or "device" in kwargs:
                args, kwargs = tree_map(_to_meta, (args, kwargs))
        out = func(*args, **kwargs)
        self.seen(func, args, kwargs, out)
        return out


def tensors_in(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The tensors among `values`, those within lists included."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)


def _to_meta(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    return torch.device("meta") if isinstance(value, torch.device) else value
