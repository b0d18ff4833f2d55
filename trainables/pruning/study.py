"""Importance as the reference study scores it; torch-free.

Facts of its code, not of its paper: groups are ranked by |w * g|, the absolute value taken before
the sum over a group, with g the gradient of one backward pass of the mean loss over 10 samples.
Layers are ranked by 1 - cos over all tokens (image, prompt and response), where the last layer's
output is taken after the final norm. It sums where the scores here are means, which is the same
ranking; and it scores in float16, where products of norms overflow, which is not reproduced.
"""

from __future__ import annotations

from trainables.specs import ImportanceSpec

STUDY_SAMPLES = 10


def study_importance(given: ImportanceSpec) -> ImportanceSpec:
    """The study's settings; of `given` only the batch size counts, which changes no score."""
    return ImportanceSpec(
        layers="block_influence",
        groups="taylor",
        tokens="all",
        distance="cosine",
        taylor="batch",
        reduction="sum",
        biases=True,
        samples=STUDY_SAMPLES,
        batch_size=min(given.batch_size, STUDY_SAMPLES),
    )
