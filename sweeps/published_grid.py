"""Do the study's findings hold when its grid is run again, by its own rules?

Command: `prunesweep run published_grid` with `--set trial.data.conversations=FILE` and
    `--set trial.data.image_folder=FOLDER`: LLaVA-1.5's own mix; and
    `--set trial.evaluation.data_folder=DIR`, as in `llava_7b_frontier`.
Cost: `prunesweep plan` prints it; one GPU of 48 GB per slot. 112 trials, nothing is sampled.
Outcome: not run by us yet; the printed numbers to compare with are in `analysis/published`.

Every recovery on 5 % of the data, and the study's best one on more. What its rules are, and which
are not reproduced, says `trainables/specs/presets.py`.
"""

from typing import Any

from search_spaces.factors import DATA_FRACTIONS
from sweeps.engine.spec import SweepSpec
from sweeps.llava_7b_frontier import RATIOS
from sweeps.llava_7b_frontier import sweep as llava
from trainables.specs import PruningSpec

TERMS = ("ce", "ce+l2", "ce+reverse_kl", "l2", "reverse_kl", "kl", "ce+kl", "ce+kl+l2")
RECOVERIES: tuple[dict[str, Any], ...] = (
    {"scope": "none"},
    {"scope": "projector", "terms": "ce"},
    *({"scope": "joint", "terms": terms} for terms in TERMS),
    *({"scope": "joint", "terms": "ce+l2", "data_fraction": f} for f in DATA_FRACTIONS[1:]),
)

sweep = SweepSpec(
    name="published_grid",
    question="Do the study's findings hold when its grid is run again, by its own rules?",
    trial=llava.trial.model_copy(
        update={
            "pruning": PruningSpec(preset="study"),
            "recovery": llava.trial.recovery.model_copy(update={"preset": "study"}),
        }
    ),
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
