"""Which pruned Mini-InternVL-Chat-4B should be shipped for a given memory or latency?

Command: `prunesweep convert ORIGINAL --to FOLDER`, then `prunesweep run internvl_4b_frontier` with
    `--set trial.model.path=FOLDER`, `--set trial.data.conversations=FILE` and
    `--set trial.data.image_folder=FOLDER`, and `--set trial.evaluation.data_folder=DIR`, as in
    `llava_7b_frontier`.
Cost: `prunesweep plan` prints it; one GPU of 48 GB per slot.
Outcome: not run by us yet; see `llava_7b_frontier` for what its scores are worth. Width means
    neurons here: the config of its Phi-3 cannot express fewer heads.
"""

from sweeps.llava_7b_frontier import sweep as llava
from trainables.specs import ModelSpec

sweep = llava.model_copy(
    update={
        "name": "internvl_4b_frontier",
        "question": "Which pruned Mini-InternVL-4B should be shipped for a memory or latency?",
        "trial": llava.trial.model_copy(
            update={
                "model": ModelSpec(path="OpenGVLab/Mini-InternVL-Chat-4B-V1-5", dtype="bfloat16")
            }
        ),
    }
)
