"""What the workers of a warm group do: take one job after another from the desk.

Every job has a process group of its own, which meets in the store that Ray Train's own group met
in: evaluation runs without one, and a group that a failed job left is of no use to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

from trainables.common.device import is_out_of_memory, release_memory
from trainables.common.process_group import (
    destroy_process_group,
    fresh_process_group,
    rank_and_world,
)
from trainables.trial.desk import Posted
from trainables.trial.errors import failure_of

PATIENCE_SECONDS = 30.0  # for the others to notice that one has failed

Ask = Callable[[dict[str, Any]], None]
"""Reports a rung's metrics; raises `SystemExit` where the trial is stopped."""
Do = Callable[[dict[str, Any], Ask | None], dict[str, Any] | None]
"""Does a job, given as plain data, together with the other workers; hands back what came of it, on
the first one. Without the function that asks, nobody judges the trial."""


def serve(desk: Any, do: Do) -> None:
    """Do the jobs of the desk until it closes; Train's loop of one worker.

    A job that failed on all workers, which they hear of each other, leaves them ready for the next.

    Args:
        desk: handle of the group's `Desk`.
        do: does a job.

    Raises:
        Exception: what this worker failed of, if memory ran out or the others did not hear of it,
            which ends the group; another one does the job once more.
    """
    rank, world = rank_and_world()
    backend = dist.get_backend()
    store = _get_default_store()
    number = 0
    while (posted := ray.get(desk.take.remote(number))) is not None:
        number = posted.number
        meeting = dist.PrefixStore(f"job-{number}", store)  # type: ignore[attr-defined]
        fresh_process_group(backend, meeting, rank, world)
        _work(desk, do, posted, rank)


def _work(desk: Any, do: Do, posted: Posted, rank: int) -> None:
    def ask(metrics: dict[str, Any]) -> None:
        if not ray.get(desk.ask.remote(metrics)):
            raise SystemExit(0)

    result, raised = None, None
    try:
        result = do(posted.job, ask if posted.judged else None)
    except SystemExit:
        pass
    except Exception as error:
        if is_out_of_memory(error):
            raise
        ray.get(desk.fail.remote(failure_of(error)))
        raised = error
    destroy_process_group()  # whoever waits for this worker in a collective of gloo hears of it
    over = desk.end.remote(rank, result)
    release_memory()  # as `run_job` does where a trial runs by itself; Tune is busy meanwhile
    try:
        ray.get(over, timeout=PATIENCE_SECONDS if raised else None)
    except ray.exceptions.GetTimeoutError:
        assert raised is not None
        raise raised from None
