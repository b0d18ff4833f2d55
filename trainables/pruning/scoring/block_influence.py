"""Block influence: how much a decoder layer turns the residual stream.

    BI_l = 1 - mean_t cos(h_in[l, t], h_out[l, t])      (ShortGPT, arXiv 2403.03853)

over the covered tokens t of the calibration data, padding never; or the mean of the angle
arccos(cos) / pi (Gromov et al., arXiv 2403.17887). `h_out` is the layer's own output, of the last
layer too: before the final norm, and before anything that is added between layers (Qwen3-VL). The
study's rule, `last_output="after_norm"`, takes the last layer's output after the final norm.
Cosines are float32: in float16 the product of the norms overflows without a sign.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.models.families.adapter import VLMAdapter
from trainables.pruning.planning.methods import criterion_settings
from trainables.pruning.planning.scores import ImportanceScores, ScoreMetadata
from trainables.pruning.scoring.calibration import Combine, alone, check_batches, forward_pass
from trainables.pruning.scoring.layer_stream import decoder_layers
from trainables.specs import ImportanceSpec


@torch.no_grad()
def score_block_influence(
    model: nn.Module,
    adapter: VLMAdapter,
    batches: Sequence[Mapping[str, Tensor]],
    spec: ImportanceSpec = ImportanceSpec(),  # noqa: B008 - frozen
    combine: Combine = alone,
) -> ImportanceScores:
    """Block influence of every layer from one forward pass per batch.

    The arguments are those of `score_importance`; of the spec `tokens`, `distance` and
    `last_output` are read, and labels are needed for `tokens="response"` only.

    Returns:
        Scores with `block` float32 [layers], in [0, 2] (cosine) or [0, 1] (angular).

    Raises:
        ValueError: if there is no calibration data, none with an image, no token is covered, or a
            layer's output is NaN or infinite.
    """
    check_batches(batches)
    layers = decoder_layers(model, adapter)
    sums = torch.zeros(len(layers), dtype=torch.float64, device=next(model.parameters()).device)
    masks: list[Tensor] = []  # covered tokens, of every batch so far
    last, after_norm = len(layers) - 1, spec.last_output == "after_norm"
    last_input = torch.empty(0)

    def add(index: int, before: Tensor, after: Tensor) -> None:
        mask = masks[-1]
        cosine = nn.functional.cosine_similarity(before[mask].float(), after[mask].float(), dim=-1)
        cosine = cosine.clamp(-1, 1)
        distance = 1 - cosine if spec.distance == "cosine" else cosine.arccos() / math.pi
        sums[index] += distance.sum(dtype=torch.float64)

    def hook(index: int) -> Any:
        def called(_: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            nonlocal last_input
            before = args[0] if args else kwargs["hidden_states"]
            if after_norm and index == last:
                last_input = before
            else:
                add(index, before, output[0] if isinstance(output, tuple) else output)

        return called

    handles = [
        layer.register_forward_hook(hook(index), with_kwargs=True)
        for index, layer in enumerate(layers)
    ]
    if after_norm:
        norm = model.get_submodule(adapter.final_norm)
        handles.append(norm.register_forward_hook(lambda _, __, out: add(last, last_input, out)))
    passed = forward_pass(model, adapter, batches, spec.tokens, handles, masks.append, combine)
    combine(sums)
    strange = (~torch.isfinite(sums)).nonzero().flatten().tolist()
    if strange:
        raise ValueError(
            f"the block influence of layer {strange[0]} is NaN, because its input or output is NaN "
            "or infinite; check its weights, or score in float32 or bfloat16"
        )
    return ImportanceScores(
        metadata=ScoreMetadata(
            method="layerwise",
            settings=criterion_settings("block_influence", spec),
            **passed._asdict(),
        ),
        block=(sums / passed.tokens).cpu().numpy().astype(np.float32),
    )
