"""Which mixture of losses brings a pruned pretrained model back best?

Command: `prunesweep run realistic_loss_coefficients`; `prunesweep effects ...` redraws.
Cost: 31 trials; 30 minutes on two CPU cores; downloads two packages (92 MiB) at first; no GPU.
Outcome: the best four mixtures add distillation to cross-entropy and keep 76 to 77 %, where it
    alone keeps 68 % (54 to 81, two fresh seeds, report split), but with margins of 12 points none
    can be told apart from it. Leaving cross-entropy out costs 13 points (-0.5 to 26); the ratio of
    the weights matters little: doubling one moves retention by 1 point (-11 to 9, and -2 to 4).

What `loss_coefficients` asks of the embedded model, asked of `smol`: everything but the loss is
fixed, at a size where recovery brings back a part of what was lost.
"""

from sweeps.engine.spec import ConfirmSpec, SweepSpec
from sweeps.loss_coefficients import BASELINES, MIXTURES
from sweeps.realistic import sweep as realistic
from trainables.specs import PruningSpec

sweep = SweepSpec(
    name="realistic_loss_coefficients",
    question="Which mixture of losses brings a pruned pretrained model back best?",
    trial=realistic.trial.model_copy(
        update={
            "pruning": PruningSpec(method="widthwise", ratio=0.45, units="neurons"),
            "recovery": realistic.trial.recovery.model_copy(update={"scope": "joint"}),
        }
    ),
    space="loss_coefficients",
    strata={"terms": MIXTURES},
    designed=tuple({"terms": terms} for terms in MIXTURES),
    confirm=ConfirmSpec(top=3, seeds=2, baselines=BASELINES),
    priors=False,
    samples=7,  # one per mixture that has a ratio to search
    startup_samples=3,
    report_candidates=3,
)
