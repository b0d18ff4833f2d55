"""Which mixture of losses, at which coefficients, brings a pruned model back best?

Command: `prunesweep run loss_coefficients`; `prunesweep effects loss_coefficients` redraws.
Cost: 74 trials; 10 minutes on two CPU cores that others used too, no GPU, no download.
Outcome: with three of twelve layers left, no mixture beats cross-entropy alone, which keeps 85.2 %
    (82.9 to 87.5, three fresh seeds, report split). Neither the other three baselines nor the five
    best of the search can be told apart from it: they lie 0.3 to 1.1 points behind, margins are 1.0
    to 1.3. Leaving cross-entropy out costs 1.4 points (0.3 to 2.5); the ratio of the weights
    matters little: doubling one moves retention by 0.2 points (0.1 to 0.3) at most.

Everything but the loss is fixed, at the point where MODEL_CARD.md shows that mixtures differ by
more than seeds do: three of twelve layers stay, projector and LoRA are trained for one epoch of 5 %
of the data. Every mixture gets the same number of trials.
"""

from sweeps.engine.spec import ConfirmSpec, SweepSpec
from trainables.specs import (
    Budget,
    EfficiencySpec,
    EvaluationSpec,
    ModelSpec,
    PruningSpec,
    RecoverySpec,
    TrialSpec,
)

SINGLE = ("ce", "kl", "reverse_kl", "l2")
MIXED = ("ce+kl", "ce+reverse_kl", "ce+l2", "kl+l2", "reverse_kl+l2", "ce+kl+l2")
MIXTURES = (*SINGLE, *MIXED, "ce+reverse_kl+l2")
# Cross-entropy alone, and equal weights of it and each of the study's three distillation losses.
BASELINES = tuple({"terms": terms} for terms in ("ce", "ce+kl", "ce+reverse_kl", "ce+l2"))

sweep = SweepSpec(
    name="loss_coefficients",
    question="Which mixture of losses, at which coefficients, brings a pruned model back best?",
    trial=TrialSpec(
        model=ModelSpec(path="tiny"),
        pruning=PruningSpec(method="layerwise", ratio=0.74),
        recovery=RecoverySpec(
            scope="joint",
            data_fraction=0.05,
            budget=Budget(epochs=1),
            batch_size=32,
            micro_batch_size=32,
            learning_rate=1e-3,
        ),
        evaluation=EvaluationSpec(batch_size=64, blank_image_limit=64),
        efficiency=EfficiencySpec(new_tokens=4, latency_repeats=5),
    ),
    space="loss_coefficients",
    strata={"terms": MIXTURES},
    designed=tuple({"terms": terms} for terms in MIXTURES),  # at equal weights
    confirm=ConfirmSpec(top=5, seeds=3, baselines=BASELINES),
    priors=False,
    samples=35,  # five per mixture that has a ratio to search
    startup_samples=3,
    report_candidates=5,
)
