"""Every table of the study on LLaVA-1.5-7B, by the study's rules: do its numbers come out again?

Command: `prunesweep run study_llava_7b` with `--set trial.data.conversations=FILE`, `--set
    trial.data.image_folder=FOLDER` and `--set trial.evaluation.data_folder=DIR`, as in
    `llava_7b_frontier`; then `prunesweep study table3 study_llava_7b`.
Cost: `prunesweep plan` prints it; one GPU of 48 GB per slot.
Outcome: not run by us yet.

The points are those of `study_tiny`. For the nine benchmarks of the extended study add `--set
trial.evaluation.tasks='[gqa, scienceqa_img, pope, mme, mmmu_val, mathvista_testmini_format, ai2d,
docvqa_val]'`: tables of six take their averages over their own. `published_grid` has more losses
and shares of the data.
"""

from sweeps.engine.spec import SweepSpec
from sweeps.llava_7b_frontier import sweep as frontier
from sweeps.study_tiny import sweep as tiny
from trainables.specs import PruningSpec
from trainables.specs.presets import STUDY_TRAINING


def by_the_study(name: str, whose: str, base: SweepSpec, family: str) -> SweepSpec:
    """The study's grid on the model of `base`, whose LoRA and rate are those of its family."""
    recovery = base.trial.recovery.model_copy(update={"preset": "study"})
    trial = {"pruning": PruningSpec(preset="study"), "recovery": recovery}
    rank = int(STUDY_TRAINING[family]["lora_rank"])
    return SweepSpec(
        name=name,
        question=f"Do the study's numbers come out again on {whose}, by its own rules?",
        trial=base.trial.model_copy(update=trial),
        space=tiny.space,
        strata=tiny.strata,
        choices={**tiny.choices, "lora_rank": (rank,)},
        ranges=base.ranges,
        designed=tiny.designed,
        priors=False,
        report_designed=True,
    )


sweep = by_the_study("study_llava_7b", "LLaVA-1.5-7B", frontier, "llava-llama")
