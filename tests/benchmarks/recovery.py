"""Throughput of recovery training against the obvious loop, side by side in one run.

`python tests/benchmarks/recovery.py [--json FILE]` trains a 30 % layerwise student of the embedded
model in float32 on one thread (ten minutes, 4 GB), or where there is a GPU one of LLaVA-v1.5-7B's
shape with random weights in bfloat16 and LoRA of rank 128 (80 GB); `--tiny` takes the GPU's path in
a minute on the CPU. The step is plain AdamW, without DeepSpeed. docs/measured.md has the results.

The plain loop runs the teacher in every step, computes both models' logits at every position, and
cuts batches in random order into padded passes of one size. Both sides compute in one type, keep
all activations, hold the images in memory, and take the smallest pass within 3 % of their fastest.

Columns. Samples per second: median of the repeats, which go through the rows in turn; on a CPU by
the seconds that the process worked. `x plain`: median of the repeats' ratios. Padding: share of the
tokens computed. Peak: bytes of the models that the row needs plus the most that a run of steps
allocates; it grows with the pass, so compare plain with `- packing`. Loss: of the last step, and
the largest relative difference in any step from the plain loop's on the same global batch.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recovery_inputs import (
    FIXED,
    MIX,
    Conversations,
    Weights,
    embedded_models,
    kept_teacher,
    random_models,
)
from recovery_steps import PLAIN, ROWS, Plan, Row, Setting, Step, engine, plain_loop
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from trainables.efficiency.measure import image_flops
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.work import recovery_flops
from trainables.recovery.train.throughput import model_flops_utilisation, peak_tflops
from trainables.specs import LossSpec, RecoverySpec

LOSSES = {
    "sft+l2": LossSpec(alpha=0.5, gamma=0.5),
    "sft+rkl": LossSpec(alpha=0.5, beta=0.5, logits="reverse_kl", temperature=2.0),
}
REGIMES = {"fixed": FIXED, "mix": MIX}
SIZES = (4, 8, 16, 32)  # samples of a pass that both sides are tried with
NEARLY = 1.03


@dataclass
class Measured:
    """Figures of one row."""

    name: str
    step: Step
    plan: Plan
    batches: list[list[int]]
    seconds: list[float]
    losses: list[float]
    peak_bytes: int = 0
    flops: float = 0.0


def run_steps(weights: Weights, row: Measured) -> list[float]:
    """Train from the start on the row's batches; its losses."""
    weights.reset()
    return torch.stack([row.step(indices) for indices in row.batches]).tolist()


def timed(gpu: bool, run: Callable[[], Any]) -> float:
    """Seconds of a run. On a CPU those of this process: other processes take the clock's."""
    if not gpu:
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def allocated_peak(gpu: bool, run: Callable[[], Any]) -> int:
    """Most bytes of tensors that a run had beside those that were there before it."""
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run()
    events = profile.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    return int(np.cumsum([size for _, size in sorted(changes, key=lambda c: c[0])]).max())


def resident_bytes(setting: Setting, row: Row | None) -> int:
    """Bytes of the modules that a row needs: the student; the teacher, or its head alone."""
    teacher: Any = setting.models.dense
    if row is not None and row.cached:
        teacher = teacher.lm_head if setting.loss.beta else nn.Module()
    parameters = [*setting.models.student.parameters(), *teacher.parameters()]
    return sum(p.numel() * p.element_size() for p in parameters)


def model_flops(setting: Setting, row: Row | None, rank: int) -> float:
    """FLOPs of the row's steps as `trainables.models.work` counts them; MFU is made of them."""
    plan, data = setting.models.plan, setting.data
    tower, projector = image_flops(setting.models.dense, LLAVA_LLAMA)
    flops = recovery_flops(
        plan.shape,
        plan.kept_counts,
        RecoverySpec(scope="joint", lora_rank=rank, loss=setting.loss),
        vision_flops=tower,
        projector_flops=projector,
    )
    teacher = row is None or not row.cached
    samples = range(len(data.samples))
    return sum(flops.computed(data.length(i), data.images(i), teacher=teacher) for i in samples)


def best_size(setting: Setting, gpu: bool) -> Setting:
    """The setting with the smallest micro-batches at which each side is about as fast as it can be.

    The sizes are tried in turn, so that a slow moment of the machine does not decide.
    """
    best: dict[str, int] = {}
    indices = setting.batches()[0]
    for side, row in (("plain_size", None), ("own_size", ROWS[0])):
        taken: dict[int, float] = {}
        steps = {}
        for size in (size for size in SIZES if size <= setting.batch_size):
            trial = replace(setting, **{side: size})  # type: ignore[arg-type]
            steps[size] = (plain_loop(trial) if row is None else engine(trial, row))[0]
        for _ in range(2 if gpu else 3):  # the first time is slower, and does not count as such
            for size, step in list(steps.items()):
                setting.weights.reset()
                try:
                    seconds = timed(gpu, lambda: step(indices))  # noqa: B023
                    taken[size] = min(seconds, taken.get(size, seconds))
                except torch.OutOfMemoryError:
                    del steps[size]
                    taken.pop(size, None)
        torch.cuda.empty_cache()
        fastest = min(taken.values())
        best[side] = min(size for size, seconds in taken.items() if seconds <= NEARLY * fastest)
    setting.weights.reset()
    return replace(setting, **best)  # type: ignore[arg-type]


def measure(setting: Setting, gpu: bool, repeats: int, rank: int) -> list[Measured]:
    """All rows, their repeats in turn; memory and losses come from a run before them."""
    rows = []
    for row in (None, *ROWS):
        step, plan = plain_loop(setting) if row is None else engine(setting, row)
        batches = setting.batches(1 if row is None else row.length_groups)
        found = Measured(row.name if row else PLAIN, step, plan, batches, [], [])
        setting.weights.free()
        found.peak_bytes = resident_bytes(setting, row) + allocated_peak(
            gpu,
            lambda: found.losses.extend(run_steps(setting.weights, found)),  # noqa: B023
        )
        found.flops = model_flops(setting, row, rank)
        rows.append(found)
    for _ in range(repeats):
        for found in rows:
            setting.weights.reset()
            found.seconds.append(timed(gpu, lambda: run_steps(setting.weights, found)))  # noqa: B023
    return rows


def figures(
    rows: list[Measured], data: Conversations, device: torch.device
) -> Iterator[dict[str, Any]]:
    """The table's rows as plain values."""
    plain = rows[0]
    for row in rows:
        seconds = statistics.median(row.seconds)
        samples = [i for batch in row.batches for i in batch]
        tokens = sum(map(data.length, samples))
        parts = [[data.length(i) for i in part] for b in row.batches for part in row.plan(b)]
        apart = [abs(a / b - 1) for a, b in zip(row.losses, plain.losses, strict=True)]
        ratios = [a / b for a, b in zip(plain.seconds, row.seconds, strict=True)]
        yield {
            "row": row.name,
            "samples_per_second": len(samples) / seconds,
            "tokens_per_second": tokens / seconds,
            "ratio": statistics.median(ratios),
            "padding": 1 - tokens / sum(len(part) * max(part) for part in parts),
            "passes_per_step": len(parts) / len(row.batches),
            "peak_mib": row.peak_bytes / 2**20,
            "last_loss": row.losses[-1],
            "loss_apart": max(apart) if row.batches == plain.batches else None,
            "tflops_per_second": row.flops / seconds / 1e12,
            "mfu": model_flops_utilisation(row.flops, seconds, device, 1),
            "seconds": row.seconds,
        }


COLUMNS = {  # figure: heading and format
    "row": ("", "{}"),
    "samples_per_second": ("samples/s", "{:.2f}"),
    "ratio": ("x plain", "{:.2f}"),
    "padding": ("padding", "{:.1%}"),
    "peak_mib": ("peak MiB", "{:,.1f}"),
    "last_loss": ("last loss", "{:.5f}"),
    "loss_apart": ("loss off by at most", "{:.1e}"),  # "-" where the batches are others
    "tokens_per_second": ("tokens/s", "{:,.0f}"),
    "tflops_per_second": ("TFLOP/s", "{:.2f}"),
    "mfu": ("MFU", "{:.1%}"),
}


def table(title: str, rows: list[dict[str, Any]]) -> Table:
    """The figures as a table in Markdown."""
    drawn = Table(title=title, title_justify="left", box=box.MARKDOWN)
    for heading, _ in COLUMNS.values():
        drawn.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for row in rows:
        found = [(row[name], form) for name, (_, form) in COLUMNS.items()]
        drawn.add_row(*("-" if value is None else form.format(value) for value, form in found))
    return drawn


def main() -> None:
    """Measure every regime with every objective, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="the GPU's path, small, on the CPU")
    parser.add_argument("--steps", type=int, default=2, help="optimizer steps of a run")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs per row")
    parser.add_argument("--objectives", nargs="+", choices=LOSSES, help="on a GPU: sft+rkl")
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=list(REGIMES))
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args()
    gpu = torch.cuda.is_available() and not given.tiny
    if not gpu:
        torch.set_num_threads(1)
    device = torch.device("cuda" if gpu else "cpu")
    batch_size = 8 if given.tiny else 32 if gpu else 64
    objectives = given.objectives or (["sft+rkl"] if gpu else list(LOSSES))
    models = random_models(device.type, given.tiny) if gpu or given.tiny else embedded_models()
    rank = 128 if gpu else 16
    weights = Weights(models.student, rank)
    student: Any = models.student
    student.train().get_submodule(LLAVA_LLAMA.vision_tower).eval()
    where = torch.cuda.get_device_name() if gpu else f"CPU, 1 thread of {os.cpu_count()} cores"
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(
        f"{where}, torch {torch.__version__}, {student.dtype}, attention "
        f"{student.config.text_config._attn_implementation}; {models.plan.lm_params / 1e6:,.1f} of "
        f"{models.plan.lm_params_dense / 1e6:,.1f} M parameters of the language model kept in "
        f"{len(models.plan.layers)} layers, LoRA rank {rank}; steps of {batch_size} samples; peak "
        f"{peak_tflops(device) or '-'} TFLOP/s"
    )
    tables: dict[str, list[dict[str, Any]]] = {}
    memory = Path("/dev/shm")  # a cache in memory is read as from a disk that is fast enough
    root = memory if gpu and memory.is_dir() else None
    for regime in given.regimes:
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            count = given.steps * batch_size
            data = Conversations(REGIMES[regime], count, models.scale, models.dense.config)
            kept = functools.partial(kept_teacher, Path(scratch), models, data)
            common = (models, weights, data, kept, LOSSES["sft+rkl"], given.steps, batch_size)
            setting = best_size(Setting(*common), gpu)
            for objective in objectives:
                rows = measure(replace(setting, loss=LOSSES[objective]), gpu, given.repeats, rank)
                title = (
                    f"{regime}, {objective}: {setting.mean_length:.0f} tokens on average, passes "
                    f"of {setting.plain_size} samples, ours of "
                    f"{setting.own_size * setting.mean_length:.0f} tokens"
                )
                tables[title] = list(figures(rows, data, device))
                console.print(table(title, tables[title]))
    if given.json:
        given.json.write_text(json.dumps({"device": where, "tables": tables}, indent=1))


if __name__ == "__main__":
    main()
