"""Muon (Jordan et al. 2024) for the backbone's matrices: momentum, then an orthogonal step.

`torch.optim.Muon` computes in bfloat16, which a CPU without such units does slowly (1.6 s for the
28 matrices of four layers, measured); this one stays in float32 and stacks equal shapes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """About the nearest semi-orthogonal matrices of [N, rows, columns], by Newton-Schulz steps."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.transpose(1, 2) if tall else x
    return result


class Muon:
    """Muon over 2-D parameters; `lr` is on AdamW's scale (update RMS 0.2)."""

    def __init__(self, parameters: Iterable[nn.Parameter], momentum: float = 0.95) -> None:
        """Args: parameters: matrices. momentum: of the gradient's running mean."""
        self.groups: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            self.groups[parameter.shape].append(parameter)
        self.momentum = momentum
        self.buffers: dict[torch.Size, Tensor] = {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One update of every parameter; each must have a gradient."""
        for shape, group in self.groups.items():
            gradient = torch.stack([p.grad for p in group if p.grad is not None])
            buffer = self.buffers.setdefault(shape, torch.zeros_like(gradient))
            buffer.lerp_(gradient, 1 - self.momentum)
            update = orthogonalize(gradient.lerp(buffer, self.momentum))
            update *= lr * 0.2 * max(shape) ** 0.5
            for parameter, delta in zip(group, update, strict=True):
                parameter.sub_(delta)
