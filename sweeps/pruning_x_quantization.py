"""What does quantizing a pruned model cost, and what does it save on top of pruning?

Command: `prunesweep run pruning_x_quantization`
Cost: 12 trials, of which 2 train; 2.5 minutes on two CPU cores, no GPU.
Outcome: int8 costs nothing that shows: by LLM.int8 and by weights alone, every student keeps what
    it kept unquantized (100, 98.1 and 97.6 % at 0, 15 and 30 %) within 0.1 points, in a third of
    the memory (8.0 MiB become 2.5). NF4 takes a fifth (1.6) and keeps 99.5 +/- 0.2, 98.6 +/- 0.3
    and 97.0 +/- 0.4 %. Quantizing comes before pruning: the dense model in NF4 is smaller and
    better than 30 % removed in int8 (1.8 MiB, 97.5 %). Memory is all it saves on this CPU: pruning
    30 % takes 0.7 of the dense model's time, LLM.int8 of the dense model 4.4 times as long, NF4
    2.2 times, int8 weights 1.3 times.

The study's Table 4 on the embedded model: dense, 15 and 30 % of it removed layerwise and recovered
by CE + L2, each as it is and quantized; LLM.int8 is the study's, NF4 and weight-only int8 are more.
Every point is scored on the report split and timed, on the frontier or not. The four quantizations
of a pruned model share one recovery.
"""

from search_spaces.factors import QUANTIZATIONS
from sweeps.engine.spec import SweepSpec
from sweeps.quickstart import sweep as quickstart
from trainables.specs import EvaluationSpec

RATIOS = (0.0, 0.15, 0.30)

sweep = SweepSpec(
    name="pruning_x_quantization",
    question="What does quantizing a pruned model cost, and what does it save on top of pruning?",
    trial=quickstart.trial.model_copy(update={"evaluation": EvaluationSpec(batch_size=64)}),
    space="pruning_x_quantization",
    strata={"ratio": RATIOS, "quantization": QUANTIZATIONS},
    # All of one quantization, then of the next: so no trial waits for another one's recovery.
    designed=tuple(
        {
            "method": "layerwise",
            "ratio": ratio,
            "quantization": quantization,
            **({"scope": "joint", "terms": "ce+l2"} if ratio else {"scope": "none"}),
        }
        for quantization in QUANTIZATIONS
        for ratio in RATIOS
    ),
    priors=False,
    report_designed=True,
)
