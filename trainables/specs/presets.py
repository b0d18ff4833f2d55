"""The reference study's own rules, as settings that any spec may have; torch-free.

What its ratios stand for is in `study_widths`. Facts of its code, not of its paper: groups are
ranked by |w * g|, the absolute value taken before the sum over a group, with g the gradient of one
backward pass of the mean loss over 10 samples; weights alone count, biases do not.
Layers are ranked by 1 - cos over all tokens (image, prompt and response), where the last layer's
output is taken after the final norm. It sums where the scores here are means, which is the same
ranking; and it scores in float16, where products of norms overflow, which is not reproduced.
Attention is pruned in layers 3 to 30 of 32 (0-based) and MLPs in layers 4 to 29, within each layer.
"""

from typing import Any

from trainables.specs import ImportanceSpec, PruningSpec

STUDY_SAMPLES = 10
PLANNING: dict[str, Any] = {
    "units": "all",
    "ranking": "local",
    "depth": "greedy",
    "protect_heads": (3, 1),
    "protect_neurons": (4, 2),
    "neuron_multiple": 1,
    "steps": 1,
}


def effective_pruning(pruning: PruningSpec) -> PruningSpec:
    """The spec with the settings in force: the preset's where there is one."""
    if pruning.preset is None:
        return pruning
    importance = study_importance(pruning.importance)
    return pruning.model_copy(update={"importance": importance, **PLANNING})


def study_importance(given: ImportanceSpec) -> ImportanceSpec:
    """The study's settings; of `given` only the batch size counts, which changes no score."""
    return ImportanceSpec(
        layers="block_influence",
        groups="taylor",
        tokens="all",
        distance="cosine",
        last_output="after_norm",
        taylor="batch",
        reduction="sum",
        biases=False,
        samples=STUDY_SAMPLES,
        batch_size=min(given.batch_size, STUDY_SAMPLES),
    )
