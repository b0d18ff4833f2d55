"""What does pruning the embedded model cost, and how much does recovery bring back?

Command: `prunesweep run quickstart` (or `make quickstart`)
Cost: minutes on two CPU cores; no GPU, no download.
"""

from sweeps.engine.spec import SweepSpec
from trainables.specs import Budget, EvaluationSpec, ModelSpec, RecoverySpec, TrialSpec

RATIOS = (0.15, 0.30, 0.45, 0.60)

sweep = SweepSpec(
    name="quickstart",
    question="What does pruning the embedded model cost, and how much does recovery bring back?",
    trial=TrialSpec(
        model=ModelSpec(path="tiny"),
        recovery=RecoverySpec(budget=Budget(epochs=1), batch_size=32, micro_batch_size=32),
        evaluation=EvaluationSpec(search_limit=200, report_limit=500, batch_size=64),
    ),
    space="frontier",
    strata={"method": ("layerwise", "widthwise"), "ratio": RATIOS},
    designed=tuple(
        {"method": method, "ratio": ratio, "scope": scope}
        for ratio, scope in zip(RATIOS, ("projector", "joint", "none", "joint"), strict=True)
        for method in ("layerwise", "widthwise")
    ),
    priors=True,
    samples=8,
    startup_samples=2,
)
