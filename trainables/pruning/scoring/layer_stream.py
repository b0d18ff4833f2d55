"""The gradient of the loss through a decoder, one layer at a time over all calibration batches.

`|w * g|` needs the gradient g over the *whole* calibration set before the absolute value, and
keeping a sum of gradients for all layers would be a second model. So the decoder is walked layer
by layer: a forward pass of every batch without a graph keeps the input of every layer, the head
and the loss give the gradient of the last layer's output, and then, from the last layer to the
first, each layer is computed again for every batch and differentiated. When a layer is done its
gradient over all batches is complete, is folded into scores and freed before the next layer's is
made. This costs one more forward pass (4 units of work for 3), and needs the weights, the layers'
inputs, and the graph and gradients of one layer.

The layers' inputs wait in host memory: S samples need 2 bytes * S * tokens * width per layer in
bfloat16, less than the graph of a single batch of B samples as long as S < 20 B or so.

What stands between two layers must have the identity as its derivative: true of all families, one
of which adds image features between its first layers (Qwen3-VL). Tests compare every family with
plain autograd.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainables.models.collation import IGNORE
from trainables.models.families.adapter import VLMAdapter
from trainables.pruning.scoring.calibration import model_inputs

# (index of the linear, its input [B, T, in], the gradient of its output [B, T, out])
Receive = Callable[[int, Tensor, Tensor], None]


@dataclass
class Trace:
    """A batch on its way back through the decoder.

    Attributes:
        counts: labels of each sample that count, int64 [B].
        gradient: of the batch's summed loss, with respect to the output of the layer that is next.
        calls: (input in host memory, further arguments) of each layer that is still to come.
    """

    counts: Tensor
    gradient: Tensor = field(default_factory=lambda: torch.empty(0))
    calls: list[tuple[Tensor, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def step_back(self, layer: nn.Module) -> None:
        """Differentiate the last layer that is left; hooks on its linears see their gradients."""
        states, args, kwargs = self.calls.pop()
        with torch.enable_grad():
            states = states.to(self.gradient.device).detach().requires_grad_(True)
            output = _states(layer(states, *args, **kwargs))
            output.backward(self.gradient)
        assert states.grad is not None
        self.gradient = states.grad


def trace(model: nn.Module, adapter: VLMAdapter, batch: Mapping[str, Tensor], number: int) -> Trace:
    """Run a batch up to the loss, a sum over its response tokens, and back to the last layer.

    No parameter may require a gradient, so that the graph begins at the last layer's output.

    Raises:
        ValueError: if a layer puts out NaN or infinity; names the first one.
    """
    layers = decoder_layers(model, adapter)
    labels = batch["labels"][:, 1:]
    covered = labels != IGNORE
    passed = Trace(counts=covered.sum(dim=1))
    tail: list[Tensor] = []

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kwargs = dict(kwargs)
        states = args[0] if args else kwargs.pop("hidden_states")
        passed.calls.append((states.detach().cpu(), args[1:], kwargs))

    def after(_: nn.Module, __: Any, output: Any) -> Any:
        index = len(passed.calls) - 1
        if not torch.isfinite(_states(output)).all():
            raise ValueError(
                f"layer {index} puts out NaN or infinity for calibration batch {number}, so there "
                "is no gradient; check its weights and the batch, or score in float32 or bfloat16"
            )
        if index < len(layers) - 1:
            return None
        tail.append(_states(output).detach().requires_grad_(True))
        return (tail[0], *output[1:]) if isinstance(output, tuple) else tail[0]

    positions = covered.any(dim=0).nonzero().squeeze(1)
    inputs = model_inputs(model, batch)
    device = inputs["input_ids"].device
    with ExitStack() as hooks, torch.enable_grad():
        for layer in layers:
            hooks.enter_context(layer.register_forward_pre_hook(before, with_kwargs=True))
            hooks.enter_context(layer.register_forward_hook(after))
        out = model(**inputs, use_cache=False, logits_to_keep=positions.to(device))
        covered = covered[:, positions].to(device)
        targets = labels[:, positions].to(device)[covered]
        loss = nn.functional.cross_entropy(out.logits[covered].float(), targets, reduction="sum")
        loss.backward()
    assert tail[0].grad is not None
    passed.gradient = tail[0].grad
    return passed


def decoder_layers(model: nn.Module, adapter: VLMAdapter) -> nn.ModuleList:
    """The decoder layers of a model."""
    layers = model.get_submodule(adapter.layers)
    assert isinstance(layers, nn.ModuleList)
    return layers


@contextmanager
def without_parameter_gradients(model: nn.Module) -> Iterator[None]:
    """No parameter requires a gradient within; all are as found afterwards."""
    required = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in required:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in required:
            parameter.requires_grad_(True)


@contextmanager
def listening(linears: Sequence[nn.Linear], receive: Receive) -> Iterator[None]:
    """Hand every linear's input and output gradient to `receive` as backward passes reach it."""

    def hook(index: int) -> Any:
        def called(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            inputs = args[0].detach()
            output.register_hook(lambda gradient: receive(index, inputs, gradient))

        return called

    with ExitStack() as hooks:
        for index, linear in enumerate(linears):
            hooks.enter_context(linear.register_forward_hook(hook(index)))
        yield


def _states(output: Any) -> Tensor:
    """Hidden states of a layer's output, which is a tensor or begins with it."""
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states
