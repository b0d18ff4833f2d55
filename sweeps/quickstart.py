"""What does pruning the embedded model cost, and how much does recovery bring back?

Command: `make quickstart`, or `prunesweep run quickstart`
Cost: some minutes on two CPU cores; no GPU, no download.
Outcome: the table and the picture in README.md.
"""

from sweeps.engine.spec import SweepSpec
from trainables.specs import (
    Budget,
    EfficiencySpec,
    EvaluationSpec,
    ModelSpec,
    RecoverySpec,
    TrialSpec,
)

RATIOS = (0.15, 0.30, 0.45, 0.60)

sweep = SweepSpec(
    name="quickstart",
    question="What does pruning the embedded model cost, and how much does recovery bring back?",
    trial=TrialSpec(
        model=ModelSpec(path="tiny"),
        recovery=RecoverySpec(
            budget=Budget(epochs=1), batch_size=32, micro_batch_size=32, learning_rate=1e-3
        ),
        evaluation=EvaluationSpec(search_limit=200, report_limit=500, batch_size=64),
        efficiency=EfficiencySpec(new_tokens=4, latency_repeats=11),
    ),
    space="frontier",
    strata={"method": ("layerwise", "widthwise"), "ratio": RATIOS},
    choices={"data_fraction": (0.05, 0.02, 0.1, 0.2), "lora_rank": (16, 8)},
    # Every ratio with both methods (paired); no recovery, projector and joint each appear.
    designed=tuple(
        {"method": method, "ratio": ratio, "scope": scope}
        for ratio, scope in zip(RATIOS, ("projector", "joint", "none", "joint"), strict=True)
        for method in ("layerwise", "widthwise")
    ),
    priors=True,
    samples=8,
    startup_samples=20,  # so its own samples are the same however fast the slots are; more are not
    report_candidates=8,
)
