"""What does pruning a really pretrained language model cost, and what does recovery bring back?

Command: `make realistic`, or `prunesweep run realistic`
Cost: 25 trials; half an hour on two CPU cores; downloads two packages (92 MiB) at first; no GPU.
Outcome: without recovery, widthwise keeps 97 and 43 % at 0.15 and 0.30, layerwise 51 and 11 %, and
    nothing is left beyond. LoRA brings both back alike, to 89 % at 0.30 and 72 % at 0.45; the
    projector alone suffices at 0.15, for widthwise. At 0.60 no student is better than guessing.
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

METHODS = ("layerwise", "widthwise")
RATIOS = (0.15, 0.30, 0.45, 0.60)
RECOVERIES = ({"scope": "none"}, {"scope": "projector"}, {"scope": "joint"})
# One of three groups of heads is a third of the attention: without it the model answers nothing at
# 0.15, where it keeps 93 % when neurons alone go. Those are 59 % of the language model.
NEURONS = {("widthwise", ratio): {"pruning.units": "neurons"} for ratio in RATIOS[:3]}

sweep = SweepSpec(
    name="realistic",
    question="What does pruning a pretrained language model cost, and what does recovery bring?",
    trial=TrialSpec(
        model=ModelSpec(path="smol"),
        recovery=RecoverySpec(
            budget=Budget(epochs=1), batch_size=8, micro_batch_size=8, data_fraction=0.1
        ),
        evaluation=EvaluationSpec(search_limit=30, report_limit=80, batch_size=40),
        efficiency=EfficiencySpec(new_tokens=4, latency_repeats=11),
    ),
    space="frontier",
    strata={"method": METHODS, "ratio": RATIOS},
    choices={"data_fraction": (0.1,), "lora_rank": (8,), "pruning.units": ("auto", "neurons")},
    designed=tuple(
        {"method": method, "ratio": ratio, **NEURONS.get((method, ratio), {}), **recovery}
        for ratio in RATIOS
        for method in METHODS
        for recovery in RECOVERIES
    ),
    samples=0,
    priors=False,
    report_designed=True,
)
