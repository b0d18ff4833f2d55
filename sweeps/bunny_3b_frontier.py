"""Which pruned Bunny-v1.0-3B should be shipped for a given memory or latency?

Command: `prunesweep convert ORIGINAL --to FOLDER`, then `prunesweep run bunny_3b_frontier` with
    `--set trial.model.path=FOLDER`, `--set trial.data.conversations=FILE` and
    `--set trial.data.image_folder=FOLDER` (Bunny's own mix is in the LLaVA format), and
    `--set trial.evaluation.data_folder=DIR`, as in `llava_7b_frontier`.
Cost: `prunesweep plan` prints it; one GPU of 24 GB per slot.
Outcome: not run by us yet; see `llava_7b_frontier` for what its scores are worth.
"""

from sweeps.llava_7b_frontier import sweep as llava
from trainables.specs import ModelSpec

sweep = llava.model_copy(
    update={
        "name": "bunny_3b_frontier",
        "question": "Which pruned Bunny-3B should be shipped for a given memory or latency?",
        "trial": llava.trial.model_copy(
            update={"model": ModelSpec(path="BAAI/Bunny-v1_0-3B", dtype="bfloat16")}
        ),
    }
)
