"""One entry for every criterion and method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor
from transformers import PreTrainedModel

from trainables.models.families.adapter import VLMAdapter
from trainables.pruning.planning.methods import criteria, effective_importance
from trainables.pruning.planning.scores import ImportanceScores, scores_of_method
from trainables.pruning.scoring.baselines import score_activation, score_magnitude, score_random
from trainables.pruning.scoring.block_influence import score_block_influence
from trainables.pruning.scoring.calibration import Combine, alone
from trainables.pruning.scoring.taylor import score_taylor
from trainables.specs import Criterion, PruningSpec

_WITH_DATA: Mapping[Criterion, Callable[..., ImportanceScores]] = {
    "block_influence": score_block_influence,
    "taylor": score_taylor,
    "activation": score_activation,
}


def score_importance(
    model: PreTrainedModel,
    adapter: VLMAdapter,
    batches: Sequence[Mapping[str, Tensor]],
    spec: PruningSpec,
    *,
    weights_digest: str = "",
    data_digest: str = "",
    seed: int = 0,
    combine: Combine = alone,
) -> ImportanceScores:
    """Scores of the spec's method; they serve every ratio.

    Args:
        model: the dense model, or a pruned student with any widths, in eval mode; left as it was.
        adapter: its table.
        batches: the calibration set: input_ids, attention_mask, labels [B, T] (-100 outside
            responses), and what else the model's forward takes.
        spec: method, importance settings and preset; ratio and planning settings are not read.
        weights_digest: of the model, kept with the scores.
        data_digest: of the calibration data, kept with the scores.
        seed: of the draw of the calibration data (kept with the scores), and of random scores.
        combine: adds up a tensor over all workers in place (`torch.distributed.all_reduce`), where
            each has its own share of the batches; every worker gets the scores of all of them.

    Raises:
        ValueError: if the calibration data do not do, or a layer's values are NaN, infinite or
            all zero; see the criteria.
    """
    by_criterion = {
        criterion: score_criterion(
            criterion,
            model,
            adapter,
            batches,
            spec,
            weights_digest=weights_digest,
            data_digest=data_digest,
            seed=seed,
            combine=combine,
        )
        for criterion in criteria(spec)
    }
    return scores_of_method(spec.method, effective_importance(spec), by_criterion)


def score_criterion(
    criterion: Criterion,
    model: PreTrainedModel,
    adapter: VLMAdapter,
    batches: Sequence[Mapping[str, Tensor]],
    spec: PruningSpec,
    *,
    weights_digest: str = "",
    data_digest: str = "",
    seed: int = 0,
    combine: Combine = alone,
) -> ImportanceScores:
    """Scores of one criterion from one pass; the arguments are those of `score_importance`.

    Returns:
        `block` for `block_influence`, `heads` and `neurons` for every other criterion.
    """
    importance = effective_importance(spec)
    known: dict[str, object] = {"weights_digest": weights_digest}
    if criterion == "magnitude":
        scores = score_magnitude(model, adapter, importance)
    elif criterion == "random":
        scores = score_random(model, adapter, importance, seed)
    else:
        scores = _WITH_DATA[criterion](model, adapter, batches, importance, combine)
        known |= {"data_digest": data_digest, "seed": seed}
    return replace(scores, metadata=scores.metadata.model_copy(update=known))
