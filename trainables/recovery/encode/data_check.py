"""Everything that is wrong with a file of conversations: every row, every image, every length.

Torch-free, unless lengths are asked for.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.common.weights import read_config
from trainables.models.families.registry import adapter_for, model_folder
from trainables.recovery.data.conversations import ConversationData, survey_conversations
from trainables.recovery.data.images import open_image
from trainables.recovery.data.rows import Broken, BrokenSampleError
from trainables.specs import DataSpec, ModelSpec
from trainables.specs.base import Frozen

if TYPE_CHECKING:
    from trainables.recovery.encode.encoder import Encoder

CHUNK = 32  # images or samples that a process takes at a time
PERCENTILES = (5, 25, 50, 75, 95, 100)
# What is read, how many of them are done, of how many (None while that is unknown).
Progress = Callable[[str, int, int | None], None]


class DataReport(Frozen):
    """What a file of conversations holds.

    Attributes:
        samples: usable rows; one that a meta file repeats counts as often.
        text_only: those without an image.
        images: different image files.
        shown_images: images of all samples together.
        turns: questions, each with its answer.
        answer_characters: length of all answers together.
        tokens: percentiles of the samples' tokens after truncation, and their sum (`total`); None
            without a model.
        broken: what cannot be used: (id, message) by kind of fault, in the file's order.
    """

    samples: int
    text_only: int
    images: int
    shown_images: int
    turns: int
    answer_characters: int
    tokens: dict[str, int] | None
    broken: dict[str, tuple[tuple[str, str], ...]]


def check_data(spec: DataSpec, model: str | None, processes: int, progress: Progress) -> DataReport:
    """Read every row of a file, decode every image, and measure every sample with a model.

    `model` is the name or folder of a checkpoint, whose processor gives the lengths; so many
    `processes` decode and tokenise.

    Raises:
        ValueError: the file cannot be read at all, or holds nothing.
    """
    progress("rows", 0, None)
    data = survey_conversations(spec)
    samples = data.conversations
    encoder = _encoder(data, model, spec.max_tokens) if model else None
    first: dict[Path, str] = {}  # of every image, a sample that shows it
    text_only = shown = turns = characters = 0
    for number, sample in enumerate(samples):
        text_only += not sample.images
        shown += len(sample.images)
        turns += len(sample.turns)
        characters += sum(len(answer) for _, answer in sample.turns)
        for path in sample.images:
            first.setdefault(path, sample.id)
        if number % 1000 == 0:
            progress("samples", number, len(samples))
    progress("samples", len(samples), len(samples))

    images = _in_processes(_look, list(first.items()), processes, progress, "images")
    bad = {path: fault for path, fault in zip(first, images, strict=True) if fault is not None}
    faults = list(data.skipped)
    for sample in samples if bad else ():
        for path in sample.images:
            if path in bad:
                fault, other, message = bad[path]
                own = message.replace(repr(other), repr(sample.id), 1)
                faults.append(Broken(fault, sample.id, own))
    lengths: list[int] = []
    if encoder is not None:
        _measuring["encoder"] = encoder  # inherited by the processes, which are forked
        whole: Sequence[int] = range(len(samples))
        if bad:
            whole = [i for i in whole if not bad.keys() & set(samples[i].images)]
        for found in _in_processes(_measure, whole, processes, progress, "lengths"):
            if isinstance(found, int):
                lengths.append(found)
            else:
                faults.append(found)
    broken: dict[str, dict[tuple[str, str], None]] = {}  # without those of repeated samples
    for fault, name, message in faults:
        broken.setdefault(fault, {})[name, message] = None
    return DataReport(
        samples=len(samples),
        text_only=text_only,
        images=len(first),
        shown_images=shown,
        turns=turns,
        answer_characters=characters,
        tokens=_summary(lengths) if lengths else None,
        broken={fault: tuple(found) for fault, found in broken.items()},
    )


def _encoder(data: ConversationData, model: str, max_tokens: int) -> Encoder:
    folder = model_folder(ModelSpec(path=model))
    if folder is None:
        raise ValueError(f"{model} is not on this machine; download it and give its folder")
    config = read_config(folder)
    adapter = adapter_for(config)
    import torch

    from trainables.models.processors import load_processor
    from trainables.recovery.encode.encoder import Encoder

    torch.set_num_threads(1)  # the processes are forked, and OpenMP's threads do not survive that
    processor = load_processor(folder, adapter, config)
    return Encoder(processor, data, max_tokens, adapter, token_cache_mib=0)


def _look(item: tuple[Path, str]) -> Broken | None:
    path, sample = item
    try:
        open_image(path, sample)
    except BrokenSampleError as error:
        return error.broken
    return None


_measuring: dict[str, Encoder] = {}


def _measure(index: int) -> int | Broken:
    encoder = _measuring["encoder"]
    return encoder.fault(index) or encoder.length(index)


def _in_processes(
    work: Callable[[Any], Any], items: Sequence[Any], processes: int, progress: Progress, name: str
) -> Iterator[Any]:
    """`work` of each item, in order."""
    if not items:
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin) as pool:
        try:
            for number, result in enumerate(pool.map(work, items, chunksize=CHUNK), start=1):
                yield result
                if number % CHUNK == 0 or number == len(items):
                    progress(name, number, len(items))
        except BrokenProcessPool:
            raise ValueError(
                f"a process that read {name} was killed, which is mostly for want of memory; "
                "use fewer with --workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    warnings.simplefilter("ignore")  # PIL's, about images that it reads all the same
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not survive a fork


def _summary(lengths: list[int]) -> dict[str, int]:
    values = np.percentile(lengths, PERCENTILES, method="nearest")
    named = {f"p{p}": int(value) for p, value in zip(PERCENTILES, values, strict=True)}
    return {**named, "total": sum(lengths)}
