"""The torch process group of a warm slot or group, which serves one trial after another."""

import os
import sys
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

TIMEOUT = timedelta(hours=6)  # of a collective: the first worker may score while the others wait


def rank_and_world() -> tuple[int, int]:
    """(rank, world size) of this process; (0, 1) without a process group."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def broadcast(text: str) -> str:
    """The first worker's text, on every worker of the group."""
    box = [text]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def fresh_single_process_group() -> None:
    """Give this process a new group of size 1 (no port, 1-3 ms), whatever it had before."""
    os.environ["LOCAL_RANK"] = "0"
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    fresh_process_group(backend, dist.HashStore(), 0, 1)  # type: ignore[attr-defined]


def fresh_process_group(backend: str, meeting: Any, rank: int, world: int) -> None:
    """Give this process a new group, and drop what DeepSpeed cached of the one before.

    Train's local mode destroys the group at the end of a normal trial, but not after an exception
    or a stop, and DeepSpeed keeps handles of the old group either way ("Group ... is not
    registered"), so every trial starts from nothing.

    Args:
        backend: gloo or nccl.
        meeting: torch's store where the workers find each other; one of its own for every group.
        rank: of this worker.
        world: number of workers.
    """
    destroy_process_group()
    _forget_deepspeed_groups()
    hook = sys.excepthook
    dist.init_process_group(backend, store=meeting, rank=rank, world_size=world, timeout=TIMEOUT)
    sys.excepthook = hook  # torch wraps it once per group, and lines began "[rank0]: [rank0]: "


def destroy_process_group() -> None:
    """End the group, if there is one; evaluation after it runs as a single process."""
    if dist.is_initialized():
        dist.destroy_process_group()


def import_deepspeed() -> Any:
    """The deepspeed module, with the one CPU op that would need a compiler switched off.

    `deepspeed_shm_comm` is built by ninja and g++ at the first initialize on CPU (99 s on an empty
    cache, an error where there is no compiler); gloo serves as well.
    """
    import deepspeed
    import deepspeed.ops

    if not torch.cuda.is_available():
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def _forget_deepspeed_groups() -> None:
    if "deepspeed" not in sys.modules:
        return
    from deepspeed.comm import comm
    from deepspeed.utils import groups

    comm.cdb = None
    for name, value in vars(groups).items():
        if name.isupper() and name.endswith(("_GROUP", "_RANK", "_WORLD_SIZE", "_GROUP_RANKS")):
            setattr(groups, name, {} if isinstance(value, dict) else None)
    groups.mesh_device = None
