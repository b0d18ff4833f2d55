"""Do the study's findings hold when its grid is run again, by its own pruning rules?

Command: `prunesweep run published_grid` with `--set trial.data.conversations=FILE` and
    `--set trial.data.image_folder=FOLDER`: LLaVA-1.5's own mix; and
    `--set trial.evaluation.data_folder=DIR`, as in `llava_7b_frontier`.
Cost: `prunesweep plan` prints it; one GPU of 48 GB per slot. 56 trials, nothing is sampled.
Outcome: not run by us yet; the printed numbers to compare with are in `analysis/published`.
"""

from sweeps.engine.spec import SweepSpec
from sweeps.llava_7b_frontier import RATIOS
from sweeps.llava_7b_frontier import sweep as llava
from trainables.specs import PruningSpec

RECOVERIES = (
    {"scope": "none"},
    {"scope": "projector", "terms": "ce"},
    *(
        {"scope": "joint", "terms": terms}
        for terms in ("ce", "ce+l2", "ce+reverse_kl", "l2", "reverse_kl")
    ),
)

sweep = SweepSpec(
    name="published_grid",
    question="Do the study's findings hold when its grid is run again, by its own pruning rules?",
    trial=llava.trial.model_copy(update={"pruning": PruningSpec(preset="study")}),
    space="published_grid",
    strata={"method": ("layerwise", "widthwise"), "ratio": RATIOS},
    designed=tuple(
        {"method": method, "ratio": ratio, **recovery}
        for ratio in RATIOS
        for method in ("layerwise", "widthwise")
        for recovery in RECOVERIES
    ),
    priors=False,
)
