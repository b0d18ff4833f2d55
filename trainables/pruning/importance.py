"""One entry for both importance methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from transformers import PreTrainedModel

from trainables.models.adapter import VLMAdapter
from trainables.pruning.block_influence import score_block_influence
from trainables.pruning.scores import ImportanceScores
from trainables.pruning.taylor import score_taylor
from trainables.specs import PruningSpec


def score_importance(
    model: PreTrainedModel,
    adapter: VLMAdapter,
    batches: Sequence[Mapping[str, Tensor]],
    spec: PruningSpec,
    *,
    weights_digest: str = "",
    data_digest: str = "",
) -> ImportanceScores:
    """Scores of the spec's method; they serve every ratio.

    Args:
        model: the dense model in eval mode; left as it was.
        adapter: its table.
        batches: the calibration set, see the two methods.
        spec: names the method; its ratio is not read.
        weights_digest: of the dense model, kept with the scores.
        data_digest: of the calibration data, kept with the scores.
    """
    score = score_block_influence if spec.method == "layerwise" else score_taylor
    return score(model, adapter, batches, weights_digest=weights_digest, data_digest=data_digest)
