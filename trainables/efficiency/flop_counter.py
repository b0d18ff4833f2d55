"""Counts FLOPs of a model whose weights are on the meta device, whatever its inputs ask for."""

from __future__ import annotations

from typing import Any

from torch.utils.flop_counter import flop_registry

from trainables.efficiency.meta_copy import MetaMode


class FlopCounter(MetaMode):
    """Counts by the formulas of torch's own counter.

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
