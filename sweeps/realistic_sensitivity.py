"""Which peak learning rate does a short recovery of a pretrained language model need?

Command: `prunesweep run realistic_sensitivity`; `prunesweep effects realistic_sensitivity` redraws.
Cost: 27 trials; 40 minutes on two CPU cores; two packages (92 MiB) at first; no GPU.
Outcome: in 50 steps, 1e-3 is right for the projector and for LoRA. A quarter of it leaves 82
    instead of 87 % with 15 % of the layers gone, and 64 instead of 74 % with 45 % of the neurons
    gone; twice as much costs 6 points at 30 % of the layers, four times as much 16 at 15 %.
    In 200 steps a quarter of it is as good (93 %, and 92 against 94 %), so LoRA's default falls
    with the steps. Four times the budget brings back more than any rate (search split, means).

What `sensitivity` asks of the embedded model, asked of `smol`: the decision flow's recipe for each
ratio at fractions and multiples of the rate 1e-3, in 50 steps and in 200, every setting with the
same two sets of seeds.
"""

from sweeps.engine.spec import SweepSpec
from sweeps.realistic import sweep as realistic
from trainables.specs import PruningSpec

# Projector, layerwise joint, widthwise joint.
RATES = {0.15: (0.25, 1.0, 4.0), 0.30: (0.25, 1.0, 2.0), 0.45: (0.25, 1.0, 2.0)}
JOINT = (0.30, 0.45)

sweep = SweepSpec(
    name="realistic_sensitivity",
    question="Which peak learning rate does a short recovery of a pretrained model need?",
    trial=realistic.trial.model_copy(
        update={
            "pruning": PruningSpec(units="neurons"),
            "recovery": realistic.trial.recovery.model_copy(update={"learning_rate": 1e-3}),
        }
    ),
    space="sensitivity",
    strata={"ratio": tuple(RATES)},
    designed=(
        *({"ratio": ratio, "lr_scale": scale} for ratio in RATES for scale in RATES[ratio]),
        *(
            {"ratio": ratio, "lr_scale": scale, "budget_scale": 4.0}
            for ratio in JOINT
            for scale in RATES[ratio][:2]
        ),
    ),
    replicates=2,
    priors=False,
    report_candidates=1,
)
