"""Every table of the study on a really pretrained language model: what does it look like there?

Command: `prunesweep run study_smol`, then `prunesweep study table3 study_smol`
Cost: `prunesweep plan` prints it: a night on two CPU cores; no GPU.
Outcome: not run by us yet.

The points are those of `study_tiny`. Up to 0.45 width means neurons, for the reason that
`realistic` gives.
"""

from sweeps.engine.spec import SweepSpec
from sweeps.realistic import NEURONS
from sweeps.realistic import sweep as realistic
from sweeps.study_tiny import GRID
from sweeps.study_tiny import sweep as tiny

sweep = SweepSpec(
    name="study_smol",
    question="What do the study's tables look like on SmolLM2-135M?",
    trial=realistic.trial,
    space=tiny.space,
    strata=tiny.strata,
    choices={
        **tiny.choices,
        "lora_rank": realistic.choices["lora_rank"],
        "pruning.units": realistic.choices["pruning.units"],
    },
    designed=tuple({**p, **NEURONS.get((p["method"], p["ratio"]), {})} for p in GRID),
    priors=False,
    report_designed=True,
)
