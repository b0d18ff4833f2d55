"""The evaluation of one trial: what is kept of it, and the help of the trial's other workers."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from transformers import PreTrainedModel

from trainables.common.process_group import broadcast, rank_and_world
from trainables.common.weights import processor_digest
from trainables.evaluation.harness import one_line
from trainables.evaluation.saved_tables import Keep, keep_in
from trainables.evaluation.shard_worker import serve
from trainables.evaluation.sharding import PATIENCE_SECONDS, Exchange, Whose, WorkerError
from trainables.pruning.planning.planner import PrunePlan
from trainables.records import LOG
from trainables.recovery.train.steps import TRAINED
from trainables.specs import Split
from trainables.trial.inputs import Inputs
from trainables.trial.jobs import TrialJob

NAP_SECONDS = 1.0


def keep_scores(inputs: Inputs, plan: PrunePlan, folder: Path, split: Split) -> Keep:
    """Keeps the tables of this student's finished tasks in the trial's folder.

    A trial that is killed while it is scored answers only what is missing when it is taken up
    again. The key holds the trained tensors, so that a student that came out differently is asked
    anew.
    """
    settings = inputs.spec.evaluation
    limit = settings.limit(split)
    key = {
        "weights": inputs.dense.weights_digest,
        "processor": processor_digest(inputs.dense.folder),
        "plan": plan.digest,
        "trained": trained_digest(folder) if inputs.spec.recovery.scope != "none" else None,
        "quantization": inputs.spec.quantization,
        "task_files": inputs.task_folder(split, limit).name,
        "split": split,
        "limit": limit,
        "max_new_tokens": settings.max_new_tokens,
    }
    return keep_in(folder, key)


def trained_digest(folder: Path) -> str:
    """Hex SHA-256 of the trained tensors in a trial's folder; empty where there are none.

    Of the tensors, not of the file: safetensors writes its metadata in any order.
    """
    path, total = folder / TRAINED, hashlib.sha256()
    if not path.exists():
        return ""
    with safe_open(path, "pt") as file:
        total.update(json.dumps(file.metadata(), sort_keys=True).encode())
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


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
    exchange: Exchange,
    trained: str,
    inputs: Inputs,
    rebuild: Callable[[], PreTrainedModel],
    folder: Path,
) -> None:
    """What the other workers do while the first one evaluates: answer their shares.

    Raises:
        WorkerError: the first worker failed, or its trained tensors do not arrive here.
    """

    def model(whose: Whose) -> PreTrainedModel:
        if whose == "dense":
            return inputs.dense.model
        _wait_for_trained(folder, trained, exchange)
        return rebuild()

    serve(exchange, model, inputs.dense.processor, folder / LOG)


def _wait_for_trained(folder: Path, trained: str, exchange: Exchange) -> None:
    """Return once this node sees the tensors that the first worker wrote.

    A shared file system may show an earlier attempt's for a while.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while trained and trained_digest(folder) != trained:
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
