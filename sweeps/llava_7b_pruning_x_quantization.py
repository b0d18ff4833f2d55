"""What does quantizing a pruned LLaVA-1.5-7B cost, and what does it save on top of pruning?

Command: `prunesweep run llava_7b_pruning_x_quantization` with
    `--set trial.data.conversations=FILE` and `--set trial.data.image_folder=FOLDER`: LLaVA-1.5's
    own mix, or data of yours in its format.
Cost: `prunesweep plan` prints it; one GPU of 48 GB per slot.
Outcome: not run by us yet; the printed numbers to compare with are Table 4's, in
    `analysis/published`. `tests/benchmarks/gpu_quantization.py` measures its memory and latency
    with random weights, which need no data.
"""

from sweeps.llava_7b_frontier import sweep as llava
from sweeps.pruning_x_quantization import sweep as embedded

sweep = embedded.model_copy(
    update={
        "name": "llava_7b_pruning_x_quantization",
        "question": "What does quantizing a pruned LLaVA-1.5-7B cost, and what does it save?",
        "trial": llava.trial,
        "choices": llava.choices,
        "ranges": llava.ranges,
    }
)
