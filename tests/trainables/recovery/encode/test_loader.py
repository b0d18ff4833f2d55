"""Prefetching by processes: the same batches, no image decoded twice, errors as they were."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.models.families.llava import LLAVA_LLAMA
from trainables.recovery.data.conversations import Conversation, ConversationData
from trainables.recovery.data.images import open_image
from trainables.recovery.data.rows import BrokenSampleError
from trainables.recovery.encode import image_inputs
from trainables.recovery.encode.encoder import Encoder
from trainables.recovery.encode.loader import Loader, Passes
from trainables.recovery.train.packing import micro_batches
from trainables.recovery.train.schedule import take_batches

IMAGES, SAMPLES = 8, 24


@pytest.fixture
def data(tmp_path: Path) -> ConversationData:
    """Samples of one, two or no images, each image in several of them."""
    paths = [tmp_path / f"{i}.png" for i in range(IMAGES)]
    for i, path in enumerate(paths):
        Image.new("RGB", (8, 8), (30 * i, 9, 200)).save(path)
    samples = []
    for i in range(SAMPLES):
        shown = (paths[i % IMAGES], paths[(3 * i + 1) % IMAGES])[: i % 3]
        question = "<image>" * len(shown) + "what ?"
        samples.append(Conversation(f"sample-{i}", shown, ((question, "a cat" * (i % 4 + 1)),)))
    return ConversationData(tuple(samples), (), "")


@pytest.fixture
def encoder(
    data: ConversationData, family_processor: Callable[[str], Any]
) -> Callable[[int], Encoder]:
    """A function that makes an encoder with a cache of so many MiB."""
    return lambda cache: Encoder(
        family_processor("llava-llama"), data, 128, LLAVA_LLAMA, pixel_cache_mib=cache
    )


@pytest.fixture
def decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counter[str]]:
    """A function that counts, by file, how often an image was decoded, by whatever process."""
    log = tmp_path / "decoded"
    log.touch()

    def counting(path: Path, sample: str) -> Any:
        with log.open("a") as file:
            file.write(f"{path.name}\n")
        return open_image(path, sample)

    monkeypatch.setattr(image_inputs, "open_image", counting)
    return lambda: Counter(log.read_text().split())


def plan(encoder: Encoder, steps: int) -> list[Passes]:
    """Steps of six samples in passes of at most four."""
    batches = islice(take_batches(np.arange(SAMPLES), 0, 6), steps)
    return [micro_batches(b, encoder.length, 1, 4)[0] for b in batches]


@pytest.mark.parametrize("cache", [0, 64])
def test_batches_are_those_of_the_loop(encoder: Callable[[int], Encoder], cache: int) -> None:
    plain = encoder(cache)
    steps = plan(plain, 8)
    with Loader(encoder(cache), 2) as loader:
        found = [(passes, list(batches)) for passes, batches in loader.iterate(iter(steps))]
    assert [passes for passes, _ in found] == steps
    for passes, batches in found:
        for indices, batch in zip(passes, batches, strict=True):
            expected = plain.batch(indices)
            assert set(batch) == set(expected)
            for name, value in expected.items():
                torch.testing.assert_close(batch[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_image_is_decoded_twice(
    encoder: Callable[[int], Encoder], decoded: Callable[[], Counter[str]], workers: int
) -> None:
    shared = encoder(64)
    steps = plan(shared, 8)  # two epochs
    shown = Counter(p.name for s in steps for part in s for i in part for p in shared.images(i))
    assert max(shown.values()) > 4
    with Loader(shared, workers) as loader:
        for _, batches in loader.iterate(steps):
            list(batches)
    assert decoded() == dict.fromkeys(shown, 1)


def test_without_a_cache_an_image_is_decoded_once_per_step(
    encoder: Callable[[int], Encoder], decoded: Callable[[], Counter[str]]
) -> None:
    shared = encoder(0)
    steps = plan(shared, 8)
    with Loader(shared, 2) as loader:
        for _, batches in loader.iterate(steps):
            list(batches)
    per_step = Counter(
        name
        for s in steps
        for name in {p.name for part in s for i in part for p in shared.images(i)}
    )
    assert decoded() <= per_step


def test_an_endless_plan_is_read_one_step_ahead(encoder: Callable[[int], Encoder]) -> None:
    taken = []

    def endless() -> Any:
        for step, indices in enumerate(take_batches(np.arange(SAMPLES), 0, 6)):
            taken.append(step)
            yield [indices]

    with Loader(encoder(64), 2) as loader:
        stream = loader.iterate(endless())
        for step in range(3):
            passes, _ = next(stream)  # batches that are not asked for are passed over
            assert taken == list(range(step + 2))
            assert passes == [
                list(next(islice(take_batches(np.arange(SAMPLES), 0, 6), step, None)))
            ]
        stream.close()
    assert loader.encoder.image_inputs.ahead == {}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_where_it_is_needed(
    encoder: Callable[[int], Encoder], workers: int
) -> None:
    shared = encoder(64)
    path = shared.data.conversations[1].images[0]
    path.write_bytes(path.read_bytes()[:40])
    with Loader(shared, workers) as loader:
        stream = loader.iterate([[[2]], [[0]], [[1]]])
        for _ in range(2):
            list(next(stream)[1])
        _, batches = next(stream)
        truncated = r"^sample 'sample-1': image .* truncated"
        with pytest.raises(BrokenSampleError, match=truncated) as caught:
            next(batches)
    assert caught.value.broken[:2] == ("unreadable image", "sample-1")


def test_a_sample_that_is_too_long_is_named_where_it_is_needed(
    data: ConversationData, family_processor: Callable[[str], Any]
) -> None:
    short = Encoder(family_processor("llava-llama"), data, 24, LLAVA_LLAMA)
    with Loader(short, 1) as loader:
        stream = loader.iterate([[[0]], [[1]]])
        next(stream)
        with pytest.raises(ValueError, match=r"'sample-1'.*raise data.max_tokens"):
            list(next(stream)[1])


def test_a_killed_process_says_what_to_do(encoder: Callable[[int], Encoder]) -> None:
    before = set(multiprocessing.active_children())
    with Loader(encoder(0), 1) as loader:
        stream = loader.iterate([[[1]], [[2]], [[4]], [[5]]])
        list(next(stream)[1])
        (child,) = set(multiprocessing.active_children()) - before
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        with pytest.raises(RuntimeError, match=r"was killed.*lower data.workers"):
            _ = [list(batches) for _, batches in stream]


ORPHAN = """
import sys, time
from types import SimpleNamespace
from trainables.recovery.encode.loader import Loader
pool = Loader(SimpleNamespace(processor=None, adapter=None), 1)._pool
pool.submit(int)
print(*pool._processes, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_processes_end_with_their_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()
