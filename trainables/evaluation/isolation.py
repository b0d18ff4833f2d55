"""What lmms-eval does to a process, undone: random state, launch variables, output, time-outs."""

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

# A single process evaluates. With these set lmms-eval would shard the samples and wait for others.
LAUNCH_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@contextlib.contextmanager
def isolated(log: Path | None = None) -> Iterator[None]:
    """Run lmms-eval so that it leaves no trace, with its output appended to `log` or dropped."""
    with (
        open(log if log is not None else os.devnull, "a", encoding="utf-8") as output,
        _unchanged_random_state(),
        _without_launch_variables(),
        _alone_in_process_group(),
        # Progress bars and prints; loguru keeps the stream it first saw, hence its own redirection.
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
        _loguru_to(output),
    ):
        yield


@contextlib.contextmanager
def _unchanged_random_state() -> Iterator[None]:
    import torch

    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(gpus):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextlib.contextmanager
def _without_launch_variables() -> Iterator[None]:
    taken = {name: os.environ.pop(name) for name in LAUNCH_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)


@contextlib.contextmanager
def _alone_in_process_group() -> Iterator[None]:
    """Hide a live process group of several workers, and keep its default time-out.

    lmms-eval calls a barrier when there is a group. One worker evaluates at a rung while the others
    wait for it elsewhere, so that barrier would never end. Importing lmms-eval also sets the
    default time-out of process groups to 24 hours.
    """
    import torch.distributed as dist

    c10d: Any = dist.distributed_c10d
    timeout = c10d.default_pg_timeout
    hidden = mock.patch.object(dist, "is_initialized", return_value=False)
    several = dist.is_initialized() and dist.get_world_size() > 1
    try:
        with hidden if several else contextlib.nullcontext():
            yield
    finally:
        c10d.default_pg_timeout = timeout


@contextlib.contextmanager
def _loguru_to(output: Any) -> Iterator[None]:
    """Send loguru's lines to `output`, and nowhere afterwards.

    Importing lmms-eval removes every loguru handler and adds one on the stdout of that moment, so
    it is imported first; no one else here uses loguru.
    """
    import lmms_eval.evaluator  # noqa: F401
    from loguru import logger

    logger.remove()
    handler = logger.add(output, level="INFO")
    try:
        yield
    finally:
        logger.remove(handler)
