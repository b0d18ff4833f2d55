"""First-order Taylor importance of heads and neurons.

    I(w) = |w * g|,   g = dL/dw,   L = mean cross-entropy over the response tokens of the whole
    calibration set                                            (LLM-Pruner, arXiv 2305.11627)

and the importance of a group is the sum of I over all its weights: for a KV group the rows of q, k
and v and the columns of o that belong to it, for a neuron its rows of gate and up and its column of
down (biases of rows included). The absolute value is taken before the sum, so that weights cannot
cancel each other.

g is the gradient of one mean over all batches, not a mean of |w * g| per batch: the scores do not
depend on how the calibration set is cut into batches (the study uses one batch; its equation 5
averages over samples instead). With one batch each gradient is folded into its groups' sums and
freed as soon as it is there, so that never more than one layer's gradients exist. With more batches
a float32 sum of the gradients of the decoder's linears is kept until the last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainables.models.adapter import LanguageShape, VLMAdapter
from trainables.pruning.calibration import IGNORE, model_inputs, response_tokens
from trainables.pruning.scores import ImportanceScores, ScoreMetadata


@dataclass
class _Folder:
    """Post-accumulate hook of one parameter: gathers its gradient, then folds it into scores."""

    scores: Tensor  # float64 [units] on the CPU; a view of the layer's row
    owners: Tensor  # int64 [size of the pruned axis]
    axis: int
    last: bool = False
    summed: Tensor | None = field(default=None)

    def __call__(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad.float()
        parameter.grad = None
        gradient = gradient if self.summed is None else self.summed.add_(gradient)
        self.summed = None if self.last else gradient
        if self.last:
            importance = (parameter.detach().float() * gradient).abs_()
            if importance.dim() == 2:
                importance = importance.sum(dim=1 - self.axis, dtype=torch.float64)
            self.scores.index_add_(0, self.owners, importance.double().cpu())


def score_taylor(
    model: PreTrainedModel,
    adapter: VLMAdapter,
    batches: Sequence[Mapping[str, Tensor]],
    *,
    weights_digest: str = "",
    data_digest: str = "",
) -> ImportanceScores:
    """Taylor importance of every KV group and neuron from one forward and backward pass per batch.

    Args:
        model: the dense model in eval mode; weights, gradients and requires_grad are left as found.
        adapter: its table.
        batches: input_ids, attention_mask, labels [B, T] (-100 outside responses), pixel_values.
        weights_digest: of the dense model, kept with the scores.
        data_digest: of the calibration data, kept with the scores.

    Returns:
        Scores with `heads` [layers, kv_groups] and `neurons` [layers, intermediate], float32.

    Raises:
        ValueError: if the calibration data hold no response token.
    """
    tokens = sum(response_tokens(batch) for batch in batches)
    if tokens == 0:
        raise ValueError("the calibration data hold no response token, so there is no gradient")
    shape = adapter.language_shape(model.config.to_dict())
    layers, size = shape.num_hidden_layers, (shape.num_key_value_heads, shape.intermediate_size)
    heads = torch.zeros(layers, size[0], dtype=torch.float64)
    neurons = torch.zeros(layers, size[1], dtype=torch.float64)
    folders = _folders(model, adapter, shape, heads, neurons)
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    handles: list[Any] = []
    try:
        model.requires_grad_(False)
        for parameter, folder in folders:
            parameter.requires_grad_(True)
            hook = parameter.register_post_accumulate_grad_hook(folder)
            handles.append(hook)
        for index, batch in enumerate(batches):
            for _, folder in folders:
                folder.last = index == len(batches) - 1
            with torch.enable_grad():
                (_loss_sum(model, batch) / tokens).backward()
    finally:
        for handle in handles:
            handle.remove()
        for parameter, required in before.items():
            parameter.requires_grad_(required)
            parameter.grad = None  # only after an error is there one
    return ImportanceScores(
        metadata=ScoreMetadata(
            method="widthwise",
            weights_digest=weights_digest,
            data_digest=data_digest,
            samples=sum(len(batch["input_ids"]) for batch in batches),
            tokens=tokens,
            batches=len(batches),
        ),
        heads=heads.numpy().astype(np.float32),
        neurons=neurons.numpy().astype(np.float32),
    )


def _folders(
    model: nn.Module, adapter: VLMAdapter, shape: LanguageShape, heads: Tensor, neurons: Tensor
) -> list[tuple[nn.Parameter, _Folder]]:
    """Every prunable parameter of the decoder with the hook that folds its gradient."""
    folders = []
    for projection in adapter.projections:
        owners = torch.from_numpy(projection.owners(shape))
        scores = heads if projection.unit == "kv_group" else neurons
        for layer in range(shape.num_hidden_layers):
            path = f"{adapter.layers}.{layer}.{projection.path}"
            weight = model.get_parameter(f"{path}.weight")
            folders.append((weight, _Folder(scores[layer], owners, projection.axis)))
            if projection.has_bias(shape) and projection.axis == 0:
                bias = model.get_parameter(f"{path}.bias")
                folders.append((bias, _Folder(scores[layer], owners, 0)))
    return folders


def _loss_sum(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Summed cross-entropy of the batch's response tokens."""
    logits = model(**model_inputs(model, batch), use_cache=False).logits[:, :-1]
    labels = batch["labels"][:, 1:].to(logits.device)
    covered = labels != IGNORE
    return nn.functional.cross_entropy(logits[covered].float(), labels[covered], reduction="sum")
