"""Which mixture of losses brings a pruned pretrained model back best?

Command: `prunesweep run realistic_loss_coefficients`; `prunesweep effects ...` redraws.
Cost: not measured; `prunesweep plan` foretells it. Two packages (92 MiB) at first; no GPU.
Outcome: not run to its end yet.

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
    confirm=ConfirmSpec(top=3, seeds=3, baselines=BASELINES),
    priors=False,
    samples=14,  # two per mixture that has a ratio to search
    startup_samples=3,
    report_candidates=3,
)
