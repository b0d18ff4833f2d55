"""How many bytes of tensors are alive at once while a model runs, on any device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from trainables.efficiency.meta_copy import MetaMode, tensors_in


class LiveBytes(MetaMode):
    """Sums the storages that operations make, as long as something refers to them.

    Tensors that were there before (weights, inputs) are not counted, nor is what a kernel
    allocates within one operation.

    Attributes:
        live: bytes at present.
        peak: the most so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: dict[int, Any] = {}

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Add what the operation made."""
        # What comes in unseen was there before; its views share its storage.
        self._add([*args, *kwargs.values()], counted=False)
        self._add([out], counted=True)
        self.peak = max(self.peak, self.live)

    def _add(self, values: Iterable[Any], counted: bool) -> None:
        for tensor in tensors_in(values):
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes() if counted else 0
            if key not in self._known:
                self._known[key] = weakref.ref(storage, self._forget(key, size))
                self.live += size

    def _forget(self, key: int, size: int) -> Callable[[object], None]:
        def forget(_: object) -> None:
            self._known.pop(key, None)
            self.live -= size

        return forget


class FusedAttention(TorchFunctionMode):
    """Attention as one operation that keeps nothing but its output, as fused kernels do.

    On the meta device PyTorch knows only the plain products, whose tokens x tokens scores no
    device of today would hold. The output has no values.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        named = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        query: torch.Tensor = named["query"]
        return query.new_empty((*query.shape[:-1], named["value"].shape[-1]))
