"""Every table of the study on a really pretrained language model: what does it look like there?

Command: `prunesweep run study_smol`, then `prunesweep study table3 study_smol`
Cost: 68 trials; an hour and a half on two CPU cores that other work kept busy; no GPU.
Outcome: without recovery width keeps more at every size, as the study says, and cutting it by 15 %
    takes no recovery. With recovery the two are not told apart up to 45 %, where the share of the
    data decides: 5, 10, 20 % of it keep 43, 71, 90 %. At 60 % nothing is better than guessing.

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
