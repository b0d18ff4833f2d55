"""Batches in the order of a plan, their images decoded ahead of time by worker processes.

Only images are worth a process: the token ids are needed in the training process anyhow, for the
counts of covered tokens, and stay there. So one cache serves all workers, and no image is decoded
by two of them. torch's `DataLoader` is no faster, reads ahead by images, not by steps, and brings
an error of its workers back as text, without fault and sample.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from trainables.models.collation import Batch
from trainables.models.families.adapter import VLMAdapter
from trainables.recovery.encode.encoder import Encoder
from trainables.recovery.encode.image_inputs import KILLED, Arrays, decode

Passes = list[list[int]]  # [pass][sample] of one worker in one step
AHEAD = 1  # steps that are decoded while one is trained
WATCH_SECONDS = 2.0


class Loader:
    """Batches of an encoder; a context manager that ends its processes.

    `workers` processes decode images; with 0 they are decoded when a batch is asked for.
    """

    def __init__(self, encoder: Encoder, workers: int) -> None:
        self.encoder = encoder
        self._pool: ProcessPoolExecutor | None = None
        if workers:
            # Forked, as a new interpreter would import torch and transformers for seconds in every
            # trial; the processes inherit the processor and touch nothing but files.
            self._pool = ProcessPoolExecutor(
                workers,
                mp_context=multiprocessing.get_context("fork"),
                initializer=_begin,
                initargs=(encoder.processor, encoder.adapter, os.getpid()),
            )

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        self.encoder.image_inputs.ahead = {}

    def iterate(self, plan: Iterable[Passes]) -> Iterator[tuple[Passes, Iterator[Batch]]]:
        """For each step of the plan its passes, and their batches, each collated when asked for.

        The plan, the passes of this worker step by step, may be endless, and is read one step
        further than the batches. What is wrong with a sample is raised where its batch is asked
        for.
        """
        steps, inputs = iter(plan), self.encoder.image_inputs
        waiting: deque[tuple[Passes, dict[Path, Future[Arrays]]]] = deque()
        try:
            while True:
                for passes in islice(steps, 1 + AHEAD - len(waiting)):
                    waiting.append((passes, self._start(passes)))
                    inputs.ahead = {**inputs.ahead, **waiting[-1][1]}
                if not waiting:
                    return
                passes = waiting[0][0]
                yield passes, (self.encoder.batch(indices) for indices in passes)
                waiting.popleft()
                inputs.ahead = {path: f for _, files in waiting for path, f in files.items()}
        finally:
            for future in inputs.ahead.values():
                future.cancel()
            inputs.ahead = {}

    def _start(self, passes: Passes) -> dict[Path, Future[Arrays]]:
        """Have the images of a step decoded, those left out that are there or under way."""
        if not self._pool:
            return {}
        encoder, started = self.encoder, dict[Path, Future[Arrays]]()
        for index in chain(*passes):
            if encoder.fault(index):
                continue  # raised when the batch is asked for
            name = encoder.data.conversations[index].id
            for path in encoder.images(index):
                if path in started or path in encoder.image_inputs:
                    continue
                under_way = encoder.image_inputs.ahead.get(path)
                try:
                    started[path] = under_way or self._pool.submit(_decode, path, name)
                except BrokenProcessPool:
                    raise RuntimeError(KILLED) from None
        return started


_worker: dict[str, Any] = {}  # of a worker process: what it decodes with


def _begin(processor: Any, adapter: VLMAdapter, parent: int) -> None:
    _worker.update(processor=processor, adapter=adapter)
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # nor do those of the tokenizer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed one cannot say goodbye."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _decode(path: Path, sample: str) -> Arrays:
    """The image's tensors as arrays, which go through the pipe.

    Tensors would go through shared memory, which containers keep small.
    """
    tensors = decode(_worker["processor"], _worker["adapter"], path, sample)
    return {name: tensor.numpy() for name, tensor in tensors.items()}
