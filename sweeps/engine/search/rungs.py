"""What happens at a rung, whoever runs the trials: Ray Tune or a simulated clock."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sweeps.engine.search.halving import Halving
from trainables.common.attempts import claim, new_attempt
from trainables.common.files import read_json
from trainables.records import RUNG, TrialRecord
from trainables.trial.jobs import TrialJob
from trainables.trial.launch import put_record


def goes_on(halving: Halving, job: TrialJob, result: Mapping[str, Any], stop: bool = False) -> bool:
    """Whether a trial goes on past the rung that it reports; one that does not gets its record.

    Args:
        halving: the rule.
        job: the trial; its folder says how it stands.
        result: `rung` is the index of the rung.
        stop: whatever the rule says, as the budget is exceeded.
    """
    reached = read_json(job.folder / RUNG, TrialRecord)
    (at_rung,) = (each for each in reached.rungs if each.rung == result["rung"])
    if halving.go_on(job.trial_id, at_rung) and not stop:
        return True
    stopped = reached.model_copy(update={"status": "early_stopped"})
    claim(job.folder, new_attempt())  # the process may take a moment to stop
    with suppress(FileExistsError):  # it had come to its end on another machine
        put_record(job.folder, stopped)
    return False
