"""Which pruned LLaVA-1.5-7B should be shipped for a given memory or latency?

Command: `prunesweep run llava_7b_frontier` with `--set trial.data.conversations=FILE` and
    `--set trial.data.image_folder=FOLDER`: LLaVA-1.5's own mix, or data of yours in its format;
    and `--set trial.evaluation.data_folder=DIR`, which `prunesweep data fetch gqa scienceqa_img
    pope mme mmmu_val --to DIR` fills on a machine that reaches the hub.
Cost: `prunesweep plan` prints it; one GPU of 48 GB per slot.
Outcome: not run by us yet. The search sees half of each benchmark's images, and the reported scores
    are those of the other half, so they are not the leaderboards' numbers to the last digit.
"""

from sweeps.engine.spec import RungSpec, SweepSpec
from trainables.specs import (
    Budget,
    DataSpec,
    EvaluationSpec,
    ImportanceSpec,
    ModelSpec,
    PruningSpec,
    RecoverySpec,
    TrialSpec,
)

RATIOS = (0.15, 0.30, 0.45, 0.60)

sweep = SweepSpec(
    name="llava_7b_frontier",
    question="Which pruned LLaVA-1.5-7B should be shipped for a given memory or latency?",
    trial=TrialSpec(
        model=ModelSpec(path="llava-hf/llava-1.5-7b-hf", dtype="bfloat16"),
        data=DataSpec(max_tokens=2048),
        pruning=PruningSpec(importance=ImportanceSpec(samples=64, batch_size=4)),
        recovery=RecoverySpec(
            budget=Budget(epochs=1),
            batch_size=64,
            micro_batch_size=4,
            max_tokens_per_step=4096,
            length_groups=16,
            checkpoint_every_steps=100,
        ),
        evaluation=EvaluationSpec(
            tasks=("gqa", "scienceqa_img", "pope", "mme", "mmmu_val"),
            search_limit=1000,
            rung_limit=400,
        ),
    ),
    strata={"method": ("layerwise", "widthwise"), "ratio": RATIOS},
    choices={"data_fraction": (0.05, 0.1, 0.2), "lora_rank": (128, 64, 16)},
    ranges={"log2_logits": (-4.0, 12.0)},  # the study's weight of KL lies at 9 to 10
    designed=tuple(
        {"method": method, "ratio": ratio, "scope": scope}
        for ratio in RATIOS
        for method in ("layerwise", "widthwise")
        for scope in ("none", "projector", "joint")
    ),
    samples=40,
    rungs=RungSpec(fractions=(0.25, 0.5)),
)
