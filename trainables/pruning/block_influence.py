"""Block influence: how much a decoder layer turns the residual stream.

    BI_l = 1 - mean_t cos(h_in[l, t], h_out[l, t])      (ShortGPT, arXiv 2403.03853)

over all tokens t of the calibration data but padding. `h_out` is the layer's own output; the last
layer's too is taken before the final norm (the study's code takes it after). Cosines are float32:
in float16 the product of the norms overflows without a sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.models.adapter import VLMAdapter
from trainables.pruning.calibration import model_inputs
from trainables.pruning.scores import ImportanceScores, ScoreMetadata


@torch.no_grad()
def score_block_influence(
    model: nn.Module,
    adapter: VLMAdapter,
    batches: Sequence[Mapping[str, Tensor]],
    *,
    weights_digest: str = "",
    data_digest: str = "",
) -> ImportanceScores:
    """Block influence of every layer from one forward pass per batch.

    Args:
        model: the dense model in eval mode; left as it was.
        adapter: its table.
        batches: input_ids, attention_mask [B, T] and pixel_values; labels are not read.
        weights_digest: of the dense model, kept with the scores.
        data_digest: of the calibration data, kept with the scores.

    Returns:
        Scores with `block` float32 [layers], in [0, 2].

    Raises:
        ValueError: if there is no calibration data.
    """
    if not batches:
        raise ValueError("there are no calibration batches, so no layer can be scored")
    layers = model.get_submodule(adapter.layers)
    assert isinstance(layers, nn.ModuleList)
    sums = torch.zeros(len(layers), dtype=torch.float64)
    mask = torch.empty(0)

    def hook(index: int) -> Any:
        def add(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            before = args[0] if args else kwargs["hidden_states"]
            after = output[0] if isinstance(output, tuple) else output
            cosine = nn.functional.cosine_similarity(before.float(), after.float(), dim=-1)
            sums[index] += (1 - cosine)[mask].double().sum().cpu()

        return add

    handles = [
        layer.register_forward_hook(hook(index), with_kwargs=True)
        for index, layer in enumerate(layers)
    ]
    tokens = 0
    try:
        for batch in batches:
            inputs = model_inputs(model, batch)
            mask = inputs["attention_mask"].bool()
            tokens += int(mask.sum())
            model(**inputs, use_cache=False, logits_to_keep=1)
    finally:
        for handle in handles:
            handle.remove()
    return ImportanceScores(
        metadata=ScoreMetadata(
            method="layerwise",
            weights_digest=weights_digest,
            data_digest=data_digest,
            samples=sum(len(batch["input_ids"]) for batch in batches),
            tokens=tokens,
            batches=len(batches),
        ),
        block=(sums / tokens).numpy().astype(np.float32),
    )
