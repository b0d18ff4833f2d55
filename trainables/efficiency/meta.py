"""What a pass through a model costs, counted on the meta device: no weights, no memory.

A copy of the model has shapes only (`on_meta`). What runs through it is watched operation by
operation: `FlopCounter` adds up the work, `LiveBytes` the tensors that are alive at once.
"""

import copy
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.flop_counter import flop_registry


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


class FlopCounter(MetaMode):
    """FLOPs of what runs, by the formulas of torch's own counter.

    Attributes:
        flops: so far, 2 per multiply-add.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Add the operation's FLOPs."""
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **kwargs, out_val=out))


def count_equal_layers_once(tower: nn.Module, counter: FlopCounter) -> None:
    """Let every list of layers in `tower`, a copy on meta, run one layer of each kind.

    Layers of one class and one shape that get alike inputs do the same work, and return the same
    thing, a shape: what was counted for the first is added to `counter` for each of the others.
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
                self._known[key] = weakref.ref(storage, partial(self._gone, key, size))
                self.live += size

    def _gone(self, key: int, size: int, _: object) -> None:
        self._known.pop(key, None)
        self.live -= size


class FusedAttention(TorchFunctionMode):
    """Attention as one operation that keeps nothing but its output, as fused kernels do.

    On the meta device PyTorch knows only the plain products, whose tokens x tokens scores no
    device of today would hold. The output has no values.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        named = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        query: torch.Tensor = named["query"]
        return query.new_empty((*query.shape[:-1], named["value"].shape[-1]))
