"""Latency of a student beside the dense model, on the device where both lie."""

from __future__ import annotations

import contextlib
import gc
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trainables.evaluation.efficiency import image_inputs, image_tokens
from trainables.models.adapter import VLMAdapter
from trainables.records import Latency
from trainables.specs import EfficiencySpec

WARM_UP = 3


def measure_latency(
    student: nn.Module, dense: nn.Module, adapter: VLMAdapter, spec: EfficiencySpec
) -> Latency:
    """Milliseconds from image and prompt to the last of `spec.new_tokens` tokens, batch 1.

    Student and dense model take turns, and who begins alternates, so that a drift of the clock
    frequency or another process hits both alike. Call it when nothing else runs on the machine.

    Args:
        student: the pruned model, in eval mode.
        dense: the dense model, on the same device and in the same dtype.
        adapter: the dense model's table.
        spec: lengths and number of repeats.

    Returns:
        Median and quartiles of the student, and the dense model's median.

    Raises:
        ValueError: the two models lie on different devices or have different dtypes.
    """
    here, there = _place(student), _place(dense)
    if here != there:
        raise ValueError(
            f"the student is on {here} and the dense model on {there}; latencies compare only on "
            "one device in one dtype, so move one of them"
        )
    models = {"student": student, "dense": dense}
    inputs = {name: latency_inputs(model, adapter, spec) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode(), _no_collection():
        for repeat in range(WARM_UP + spec.latency_repeats):
            for name in ("student", "dense") if repeat % 2 else ("dense", "student"):
                seconds = _timed(models[name], inputs[name], spec.new_tokens)
                if repeat >= WARM_UP:
                    times[name].append(1000 * seconds)
    lower, median, upper = np.percentile(times["student"], [25, 50, 75])
    return Latency(
        device=device_name(next(student.parameters()).device),
        median_ms=float(median),
        lower_ms=float(lower),
        upper_ms=float(upper),
        dense_median_ms=float(np.median(times["dense"])),
        repeats=spec.latency_repeats,
    )


def latency_inputs(
    model: Any, adapter: VLMAdapter, spec: EfficiencySpec
) -> dict[str, torch.Tensor]:
    """One grey image and a prompt of `spec.prompt_tokens` arbitrary text tokens after it."""
    device, image = next(model.parameters()).device, adapter.image_token_id(model.config.to_dict())
    words = [i for i in range(model.config.get_text_config().vocab_size) if i != image]
    prompt = [words[i % len(words)] for i in range(spec.prompt_tokens)]
    ids = torch.tensor([[image] * image_tokens(model, adapter) + prompt])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if adapter.token_types:
        inputs[adapter.token_types] = (ids == image).int()
    inputs |= image_inputs(model, adapter)
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def device_name(device: torch.device) -> str:
    """The device in words; for a CPU with its number of threads, which latency depends on."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    return f"{name}, {torch.get_num_threads()} threads"


def _timed(model: Any, inputs: dict[str, torch.Tensor], new_tokens: int) -> float:
    """Seconds of one generation of exactly `new_tokens` tokens."""
    device = next(model.parameters()).device
    _synchronise(device)
    start = time.perf_counter()
    model.generate(**inputs, max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False)
    _synchronise(device)
    return time.perf_counter() - start


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _place(model: nn.Module) -> str:
    parameter = next(model.parameters())
    return f"{parameter.device} ({str(parameter.dtype).removeprefix('torch.')})"


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Garbage is collected before the measurement, not in it."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
