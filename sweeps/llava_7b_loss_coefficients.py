"""Which mixture of losses, at which coefficients, brings a pruned LLaVA-1.5-7B back best?

Command: `prunesweep run llava_7b_loss_coefficients` with `--set trial.data.conversations=FILE` and
    `--set trial.data.image_folder=FOLDER`: LLaVA-1.5's own mix, or data of yours in its format.
Cost: `prunesweep plan` prints it; one GPU of 48 GB per slot.
Outcome: not run by us yet; `loss_coefficients` asks the same of the embedded model. As in
    `llava_7b_frontier`, both splits hold the same questions here, which flatters the best a little.
"""

from sweeps.engine.spec import SweepSpec
from sweeps.llava_7b_frontier import sweep as llava
from sweeps.loss_coefficients import sweep as embedded
from trainables.specs import TrialSpec

# 60 % of the layers gone: where little is lost, no mixture can be better than another.
PRUNING = llava.trial.pruning.model_copy(update={"method": "layerwise", "ratio": 0.60})
RECOVERY = llava.trial.recovery.model_copy(
    update={"scope": "joint", "data_fraction": 0.05, "lora_rank": 128}
)

sweep = SweepSpec(
    name="llava_7b_loss_coefficients",
    question="Which mixture of losses, at which coefficients, brings LLaVA-1.5-7B back best?",
    trial=TrialSpec.model_validate({**dict(llava.trial), "pruning": PRUNING, "recovery": RECOVERY}),
    space=embedded.space,
    strata=embedded.strata,
    # Beside a logits term the study's L2 is as light as that is heavy beside cross-entropy.
    ranges={**llava.ranges, "log2_hidden": (-12.0, 4.0)},
    designed=embedded.designed,
    confirm=embedded.confirm,
    priors=False,
    samples=21,  # three per mixture that has a ratio to search
    startup_samples=3,
    report_candidates=5,
)
