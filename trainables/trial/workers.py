"""A trial's workers while the first one evaluates: where they meet, how the others help."""

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist
from transformers import PreTrainedModel

from trainables.common.names import one_line
from trainables.common.process_group import broadcast, destroy_process_group, rank_and_world
from trainables.evaluation.shard_worker import serve
from trainables.evaluation.sharding import PATIENCE_SECONDS, Exchange, Whose, WorkerError
from trainables.pruning.planning.planner import PrunePlan
from trainables.records import LOG, TRAINED
from trainables.trial.inputs import Inputs
from trainables.trial.jobs import TrialJob
from trainables.trial.student import finished_student, trained_digest

NAP_SECONDS = 1.0


def leave_group(job: TrialJob) -> tuple[Exchange | None, str]:
    """End the process group, which nothing after the recovery needs.

    lmms-eval would count its workers.

    Returns:
        What `meet` returns; (None, "") where the first worker evaluates alone.
    """
    if rank_and_world()[1] == 1:
        return None, ""
    met = meet(job) if job.spec.evaluation.sharded else (None, "")
    destroy_process_group()
    return met


def meet(job: TrialJob) -> tuple[Exchange, str]:
    """Where the workers of this trial meet, and the digest of the trained tensors.

    The last thing that needs the process group. The first worker chooses the place, so that nobody
    reads what an earlier start left there, and names the tensors that it has written.
    """
    rank, world = rank_and_world()
    if rank == 0:
        for left in job.folder.glob("shards-*"):  # of a start that was killed or failed
            shutil.rmtree(left, ignore_errors=True)
    said = f"{uuid.uuid4().hex[:8]} {trained_digest(job.folder)}" if rank == 0 else ""
    name, _, trained = broadcast(said).partition(" ")
    exchange = Exchange(job.folder / f"shards-{name}", rank, world)
    dist.barrier()  # whoever came late would make the folder of a meeting that is over, and wait
    return exchange, trained


def help_out(
    exchange: Exchange | None, trained: str, job: TrialJob, inputs: Inputs, plan: PrunePlan
) -> None:
    """What the other workers do while the first one evaluates: answer their shares.

    Raises:
        WorkerError: the first worker failed, or its trained tensors do not arrive here.
    """
    if exchange is None:
        return

    def model(whose: Whose) -> PreTrainedModel:
        if whose == "dense":
            return inputs.dense.model
        if whose == "untrained" or not trained:
            return finished_student(inputs, plan, None)
        _wait_for_trained(job.folder, trained, exchange)
        return finished_student(inputs, plan, job.folder / TRAINED)

    serve(exchange, model, inputs.dense.processor, job.folder / LOG)


def _wait_for_trained(folder: Path, trained: str, exchange: Exchange) -> None:
    """Return once this node sees the tensors that the first worker wrote.

    A shared file system may show an earlier attempt's for a while.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while trained_digest(folder) != trained:
        if time.monotonic() > until:
            raise WorkerError(
                f"{folder / TRAINED} is not what the first worker wrote, after "
                f"{PATIENCE_SECONDS:.0f} s; the storage has to be shared by all nodes"
            )
        exchange.beat()
        time.sleep(NAP_SECONDS)


@contextmanager
def helped(exchange: Exchange | None) -> Iterator[None]:
    """Lets the other workers go at the end of the block, with its error if there is one."""
    error: str | None = "its process was stopped"
    try:
        yield
        error = None
    except Exception as raised:
        error = one_line(raised)
        raise
    finally:
        if exchange is not None:
            exchange.end(error)
