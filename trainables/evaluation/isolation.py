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
        contextlib.ExitStack() as stack,
        open(log if log is not None else os.devnull, "a", encoding="utf-8") as output,
    ):
        stack.enter_context(_unchanged_random_state())
        stack.enter_context(_without_launch_variables())
        stack.enter_context(_alone_in_process_group())
        # Progress bars and prints; loguru keeps the stream it first saw, hence its own redirection.
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.redirect_stderr(output))
        stack.enter_context(_loguru_to(output))
        yield


@contextlib.contextmanager
def _unchanged_random_state() -> Iterator[None]:
    import torch

    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


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

    if not dist.is_available():
        yield
        return
    c10d: Any = dist.distributed_c10d
    timeout = c10d.default_pg_timeout
    try:
        alone = not dist.is_initialized() or dist.get_world_size() == 1
        if not alone:
            with mock.patch.object(dist, "is_initialized", return_value=False):
                yield
        else:
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
