"""Which settings of the recovery matter around each recipe, and which are safe at every ratio?

Command: `prunesweep run sensitivity`; `prunesweep effects sensitivity` redraws.
Cost: `prunesweep plan sensitivity` counts the trials; two CPU cores, no GPU.
Outcome: not run as a whole by us yet.

One factor at a time around the decision flow's recipe for each ratio, every setting with the same
three sets of seeds; the recipe itself with six, which show what chance alone does.
"""

from sweeps.engine.spec import SweepSpec
from sweeps.loss_coefficients import sweep as coefficients
from trainables.specs import PruningSpec

RATIOS = (0.15, 0.30, 0.60)  # one per recipe: projector, layerwise joint, widthwise joint
JOINT = RATIOS[1:]
RATES, BUDGETS, RANKS = (0.25, 0.5, 2.0, 4.0), (0.5, 2.0), (4, 64)
LOG_RATIOS = (-4.0, -2.0, 2.0, 4.0)

sweep = SweepSpec(
    name="sensitivity",
    question="Which settings matter around each recipe, and which are safe at every ratio?",
    trial=coefficients.trial.model_copy(
        update={
            "pruning": PruningSpec(),
            "recovery": coefficients.trial.recovery.model_copy(update={"scope": "none"}),
        }
    ),
    space="sensitivity",
    strata={"ratio": RATIOS},
    designed=(
        *({"ratio": ratio} for ratio in RATIOS),
        *({"ratio": ratio, "lr_scale": scale} for ratio in RATIOS for scale in RATES),
        *({"ratio": ratio, "budget_scale": scale} for ratio in RATIOS for scale in BUDGETS),
        *({"ratio": ratio, "log2_hidden": log2} for ratio in JOINT for log2 in LOG_RATIOS),
        *({"ratio": ratio, "lora_rank": rank} for ratio in JOINT for rank in RANKS),
        *({"ratio": ratio, "seed": 3} for ratio in RATIOS),  # and with the replicates 4 and 5
    ),
    replicates=3,
    priors=False,
    report_candidates=1,
)
