"""What happens at a rung, whoever runs the trials: Ray Tune or a simulated clock."""

import math
from collections.abc import Mapping
from typing import Any

from sweeps.engine.search.halving import Halving, RungScore
from trainables.common.attempts import claim, new_attempt
from trainables.common.files import read_json, write_json
from trainables.records import CHECKPOINT, RECORD, RUNG, TrialRecord
from trainables.trial.jobs import TrialJob


def goes_on(halving: Halving, job: TrialJob, result: Mapping[str, Any]) -> bool:
    """Whether a trial goes on past the rung that it reports; one that does not gets its record.

    Args:
        halving: the rule.
        job: the trial.
        result: `rung`, `retention` (None without one) and `recovery_tflops` so far.
    """
    retention = math.nan if result["retention"] is None else float(result["retention"])
    score = RungScore(job.trial_id, retention, float(result["recovery_tflops"]))
    if halving.go_on(job.spec.pruning.amount, int(result["rung"]), score):
        return True
    reached = read_json(job.folder / RUNG, TrialRecord)
    stopped = reached.model_copy(update={"status": "early_stopped"})
    claim(job.folder, new_attempt())  # the process may take a moment to stop
    write_json(job.folder / RECORD, stopped)
    (job.folder / CHECKPOINT).unlink(missing_ok=True)
    return False
