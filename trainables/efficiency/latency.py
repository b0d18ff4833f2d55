"""Latency of a student beside the dense model, on the device where both lie."""

import contextlib
import functools
import gc
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import LogitsProcessor, LogitsProcessorList

from trainables.common.device import device_name
from trainables.efficiency.energy import joules_per_run
from trainables.efficiency.prompt import prompt_inputs
from trainables.models.families.adapter import VLMAdapter
from trainables.records import Latency
from trainables.specs import EfficiencySpec
from trainables.specs.evaluation import WARM_UP


def measure_latency(
    student: nn.Module,
    dense: nn.Module,
    adapter: VLMAdapter,
    spec: EfficiencySpec,
    batch: int = 1,
) -> Latency:
    """Milliseconds from image and prompt to the last of `spec.new_tokens` tokens.

    Student and dense model take turns, and who begins alternates, so that a drift of the clock
    frequency or another process hits both alike. Call it when nothing else runs on the machine.
    The prefill ends when the first token's logits are there, within the same generation. Energy is
    read afterwards, over the student's runs of some seconds.

    Args:
        student: the pruned model, in eval mode; quantized or not.
        dense: the dense model, on the same device and computing in the same dtype.
        adapter: the dense model's table.
        spec: lengths and number of repeats.
        batch: prompts that are answered together.

    Returns:
        Median and quartiles of the student, and the dense model's median.

    Raises:
        ValueError: the two models lie on different devices or compute in different dtypes.
    """
    here, there = _place(student), _place(dense)
    if here != there:
        raise ValueError(
            f"the student is on {here} and the dense model on {there}; latencies compare only on "
            "one device in one dtype, so move one of them"
        )
    runs = {}
    for name, model in (("student", student), ("dense", dense)):
        inputs = prompt_inputs(model, adapter, spec, batch)
        runs[name] = functools.partial(_timed, model, inputs, spec.new_tokens)
    timings: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    device = next(student.parameters()).device
    with torch.inference_mode(), _no_collection():
        for repeat in range(spec.latency_runs):
            for name in ("student", "dense") if repeat % 2 else ("dense", "student"):
                timings[name].append(runs[name]())
        joules = joules_per_run(runs["student"], device)
    # Milliseconds of every repeat.
    whole, prefill = 1000 * np.array(timings["student"][WARM_UP:]).T
    dense_whole, _ = 1000 * np.array(timings["dense"][WARM_UP:]).T
    lower, median, upper = (float(value) for value in np.percentile(whole, [25, 50, 75]))
    steps = spec.new_tokens - 1
    return Latency(
        device=device_name(device),
        median_ms=median,
        lower_ms=lower,
        upper_ms=upper,
        dense_median_ms=float(np.median(dense_whole)),
        repeats=spec.latency_repeats,
        batch=batch,
        prefill_ms=float(np.median(prefill)),
        decode_ms=float(np.median(whole - prefill)) / steps if steps else None,
        tokens_per_second=1000 * batch * spec.new_tokens / median,
        energy_joules=joules,
    )


class _FirstToken(LogitsProcessor):
    """Notes when the logits of the first token are there; changes nothing."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.at: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores as they are."""
        if self.at is None:
            _synchronise(self.device)
            self.at = time.perf_counter()
        return scores


def _timed(model: Any, inputs: dict[str, torch.Tensor], new_tokens: int) -> tuple[float, float]:
    """Seconds of generating exactly `new_tokens` tokens, and of its part up to the first one."""
    device = next(model.parameters()).device
    first = _FirstToken(device)
    _synchronise(device)
    start = time.perf_counter()
    model.generate(
        **inputs,
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        do_sample=False,
        logits_processor=LogitsProcessorList([first]),
    )
    _synchronise(device)
    end = time.perf_counter()
    assert first.at is not None
    return end - start, first.at - start


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _place(model: nn.Module) -> str:
    """Device and the type that the model computes in; quantized weights are integers of a kind."""
    parameters = list(model.parameters())
    kind = next(p.dtype for p in parameters if p.is_floating_point())
    return f"{parameters[0].device} ({str(kind).removeprefix('torch.')})"


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
