"""Throughput of recovery training against the obvious loop, side by side in one run.

Usage: `python tests/benchmarks/recovery.py [--json FILE]`. Without a GPU it trains a 30 % layerwise
student of the embedded model in float32 on one thread: about ten minutes of CPU and 4 GB of memory.
With one, a student of LLaVA-v1.5-7B's shape with random weights in bfloat16, LoRA of rank 128,
meant for 80 GB or more; `--tiny` takes that path with a small shape on the CPU, in a minute.
Needs torch, transformers and peft, but neither ray nor deepspeed nor lmms_eval: the step is plain
AdamW, on float32 copies where the weights are bfloat16.

The plain loop runs the teacher in every step, computes both models' logits at every position, cuts
batches in random order into padded passes of one size, and shows every image to both models. Both
sides compute in the same type with torch's scaled dot-product attention, keep all activations (no
gradient checkpointing), and take the smallest pass within 3 % of their fastest; passes are tried
from 4 to 32 samples, ours by as many times the mean number of tokens.
    online teacher   packing by tokens; logits where covered
    cached teacher   the same, but the teacher's answers come from the store
    - TRICK          the row above without one of its tricks
    + length groups  the row above, blocks of four batches sorted by length
Images stay in memory on both sides, so that decoding counts on neither.

Lengths, in LLaVA's tokens: `fixed` is 576 of the image and 174 of text, 64 of them answer; `mix` is
drawn from `recovery_inputs.MIX`, which says what of it is published: mean 830, 5 to 95 % of samples
within 656 and 1,216, at most 2,048, 6 % without an image, most with several turns. The embedded
model's are an eighth of these, where text stands for image tokens that it does not have.

Columns. Samples per second: median of the repeats, which go through the rows in turn; on a CPU the
seconds are those that the process worked, as other processes take part of the clock's. `x plain`:
median of the repeats' ratios. Padding: share of the tokens computed. Peak: bytes of the models that
the row needs (of the teacher its head alone where its answers are kept) plus the most that a run of
steps allocates; it grows with the pass, so compare plain with `- packing`, which has passes of as
many samples. Loss: of the last step, and the largest relative difference in any step from the plain
loop's on the same global batch.

Measured on 2 cores, the other one at work, one thread, torch 2.13, 3 repeats; samples per second
over the plain loop's, peak memory, padding:
    fixed   cached 1.46 (sft+l2) and 1.47 (sft+rkl), 114 MiB against 125; online 1.00
    mix     cached 2.03 and 2.04, with length groups 2.10 and 2.04, 65 MiB against 99, padding 2.8 %
            of the tokens against 21 %; online 1.42 and 1.40
So 2x is reached at the mix, and 1.5x at fixed length missed by a little: there the plain loop
wastes no padding, and the teacher's forward pass, 31 % of its time, is all that can be saved.
Losses differ by less than 2e-7 on the same global batches. What pays is the cached teacher and the
packing; on this small model covered logits (57 words) and the causal kernel are within the noise.
No GPU has run this yet.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recovery_inputs import (
    FIXED,
    MIX,
    Caches,
    Conversations,
    Models,
    embedded_models,
    random_models,
)
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from trainables.efficiency.measure import image_flops
from trainables.models.collation import IGNORE, Batch, move
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.work import RecoveryFlops, linear_weights, lora_weights
from trainables.recovery.loss.coverage import answer_positions
from trainables.recovery.loss.layer_maps import student_states, teacher_states
from trainables.recovery.loss.objective import RecoveryObjective
from trainables.recovery.loss.targets import Targets, teacher_needs
from trainables.recovery.loss.terms import cross_entropy_sum, divergence_sum, total_loss
from trainables.recovery.teacher.online import OnlineTeacher
from trainables.recovery.train.passes import Passes, RecoveryJob
from trainables.recovery.train.schedule import take_batches
from trainables.recovery.train.student import prepare_student
from trainables.recovery.train.throughput import peak_tflops
from trainables.specs import LossSpec, RecoverySpec, TrialSpec

LOSSES = {
    "sft+l2": LossSpec(alpha=0.5, gamma=0.5),
    "sft+rkl": LossSpec(alpha=0.5, beta=0.5, logits="reverse_kl", temperature=2.0),
}
REGIMES = {"fixed": FIXED, "mix": MIX}
SIZES = (4, 8, 16, 32)  # samples of a pass that both sides are tried with
NEARLY = 1.03
RATE = 2e-4


@dataclass(frozen=True)
class Row:
    """One configuration of the engine; the defaults are all of its tricks."""

    name: str
    cached: bool = True  # else the teacher runs in every step
    packed: bool = True
    covered: bool = True  # else the student's logits are computed at every position
    causal: bool = True  # else padding stands on the left, and attention needs its mask
    length_groups: int = 1


PLAIN = "plain loop"
ROWS = (
    Row("online teacher", cached=False),
    Row("cached teacher"),
    Row("- packing", packed=False),
    Row("- covered logits", covered=False),
    Row("- causal kernel", causal=False),
    Row("+ length groups", length_groups=4),
)


@dataclass(frozen=True)
class Setting:
    """What all rows of a table share: models, data, loss, and the micro-batches that fit best."""

    models: Models
    weights: Weights
    data: Conversations
    caches: Caches
    loss: LossSpec
    steps: int
    batch_size: int
    plain_size: int = 8
    own_size: int = 8

    @property
    def mean_length(self) -> float:
        return statistics.mean(self.data.length(i) for i in range(len(self.data.samples)))

    def batches(self, length_groups: int = 1) -> list[list[int]]:
        """The global batches: every sample once, in random order."""
        samples = np.arange(len(self.data.samples))
        order = take_batches(samples, 0, self.batch_size, self.data.length, length_groups)
        return list(islice(order, self.steps))


class Weights:
    """The trained weights, put back before each run, and AdamW on float32 copies of them."""

    def __init__(self, student: nn.Module, rank: int) -> None:
        torch.manual_seed(0)
        spec = RecoverySpec(scope="joint", lora_rank=rank)
        self.trained = list(prepare_student(student, LLAVA_LLAMA, spec).values())
        self._start = [parameter.detach().clone() for parameter in self.trained]
        self.reset()

    def free(self) -> None:
        """Hold nothing but the weights, so that memory is counted from there."""
        self._masters, self._adam = [], None
        for parameter in self.trained:
            parameter.grad = None

    def reset(self) -> None:
        self.free()
        for parameter, value in zip(self.trained, self._start, strict=True):
            parameter.data.copy_(value)
        whole = [p if p.dtype == torch.float32 else p.detach().float() for p in self.trained]
        self._masters = whole
        self._adam: Any = torch.optim.AdamW(whole, lr=RATE, weight_decay=0.0)

    def step(self) -> None:
        for master, parameter in zip(self._masters, self.trained, strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.to(master.dtype)
        self._adam.step()
        for master, parameter in zip(self._masters, self.trained, strict=True):
            if master is not parameter:
                parameter.data.copy_(master)
            parameter.grad = master.grad = None


Step = Callable[[list[int]], Tensor]  # trains on a global batch, returns its loss
Plan = Callable[[list[int]], list[list[int]]]  # the samples of each pass of a global batch


def plain_loop(setting: Setting) -> tuple[Step, Plan]:
    """The obvious loop: both models look at padded batches in their order; logits everywhere."""
    student, teacher, data = setting.models.student, setting.models.dense, setting.data
    loss = setting.loss

    def plan(indices: list[int]) -> list[list[int]]:
        size = setting.plain_size
        return [indices[at : at + size] for at in range(0, len(indices), size)]

    def collate(indices: list[int]) -> Batch:
        tokens = [tuple(map(torch.tensor, data.tokens(i))) for i in indices]
        ids = pad_sequence([ids for ids, _ in tokens], batch_first=True)
        labels = pad_sequence([y for _, y in tokens], batch_first=True, padding_value=IGNORE)
        lengths = torch.tensor([[data.length(i)] for i in indices])
        batch = {"input_ids": ids, "attention_mask": (torch.arange(ids.shape[1]) < lengths).long()}
        keys = [key for i in indices for key in data.image_keys(i)]
        if keys:
            batch["pixel_values"] = torch.cat([data.image(key)["pixel_values"] for key in keys])
        return move({**batch, "labels": labels}, student.device, student.dtype)

    def answer(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        states = model.model(**inputs, use_cache=False).last_hidden_state
        return states, model.lm_head(states)

    def step(indices: list[int]) -> Tensor:
        answers = sum(data.answers(i) for i in indices)
        tokens = sum(data.length(i) for i in indices)
        values = []
        for part in plan(indices):
            batch = collate(part)
            with torch.no_grad():
                wanted, reference = answer(teacher, batch)
            states, logits = answer(student, batch)
            labels = batch["labels"][:, 1:]
            flat = logits[:, :-1].float().flatten(0, 1)
            entropy = functional.cross_entropy(flat, labels.flatten(), reduction="sum")
            value = loss.alpha * entropy / answers
            if loss.gamma:
                squares = (states.float() - wanted.float()).square().mean(-1)
                value = value + loss.gamma * (squares * batch["attention_mask"]).sum() / tokens
            if loss.beta:
                own = functional.log_softmax(logits[:, :-1].float() / loss.temperature, -1)
                other = functional.log_softmax(reference[:, :-1].float() / loss.temperature, -1)
                divergence = (own.exp() * (own - other)).sum(-1) * (labels != IGNORE)
                value = value + loss.beta * loss.temperature**2 * divergence.sum() / answers
            value.backward()
            values.append(value.detach())
        setting.weights.step()
        return torch.stack(values).sum()

    return step, plan


class EveryPosition(RecoveryObjective):
    """The objective without one of its tricks: the student's logits at every position, in one."""

    def _head_sums(
        self, final: Tensor, batch: Batch, targets: Targets, teacher_head: nn.Module | None
    ) -> Tensor:
        labels = functional.pad(batch["labels"][:, 1:], (0, 1), value=IGNORE)
        logits: Tensor = self.student.lm_head(final)  # type: ignore[operator]
        answer = cross_entropy_sum(logits.flatten(0, 1), labels.flatten())
        divergence = torch.zeros_like(answer)
        if self.loss.beta:
            assert teacher_head is not None
            with torch.no_grad():
                reference = teacher_head(targets.final)
            covered = answer_positions(batch["labels"])
            how = (self.loss.logits, self.loss.temperature)
            divergence = divergence_sum(logits[covered], reference, *how)
        return torch.stack([answer, divergence])


def engine(setting: Setting, row: Row) -> tuple[Step, Plan]:
    """The engine with the tricks of a row, without DeepSpeed around it."""
    models, loss, data = setting.models, setting.loss, setting.data
    layers = models.plan.shape.num_hidden_layers
    needs = teacher_needs(loss, teacher_states(loss, models.plan.layers, layers))
    teacher = (
        setting.caches.teacher(needs)
        if row.cached
        else OnlineTeacher(models.dense, needs, LLAVA_LLAMA)
    )
    longest = max(data.length(i) for i in range(len(data.samples)))
    tokens = max(longest, round(setting.own_size * setting.mean_length))
    recovery = RecoverySpec(
        scope="joint",
        loss=loss,
        batch_size=setting.batch_size,
        micro_batch_size=setting.plain_size,
        max_tokens_per_step=tokens if row.packed else None,
    )
    job = RecoveryJob(
        spec=TrialSpec(recovery=recovery),
        folder=Path(),
        attempt="",
        adapter=LLAVA_LLAMA,
        states=student_states(loss, len(models.plan.layers)),
        hidden_scale=(1.0,),
        teacher_width=models.plan.shape.hidden_size,
        flops=RecoveryFlops(),
    )
    encoder: Any = data if row.causal else data.padded_left()
    passes = Passes(models.student, teacher, encoder, job, recovery, None)
    if not row.covered:
        passes.objective = EveryPosition(models.student, loss, job.states, LLAVA_LLAMA)

    def step(indices: list[int]) -> Tensor:
        values = []
        for run in passes.of(indices, passes.objective):
            value = total_loss(run(), loss)
            value.backward()
            values.append(value.detach())
        setting.weights.step()
        return torch.stack(values).sum()

    return step, passes.plan


@dataclass
class Measured:
    """Figures of one row.

    `seconds` of each repeat: of a GPU by the clock, of a CPU what its one thread worked.
    """

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


@functools.cache
def vision_flops(models: Models) -> tuple[int, int]:
    """FLOPs of one image in the vision tower and in the projector."""
    return image_flops(models.dense, LLAVA_LLAMA)


def model_flops(setting: Setting, row: Row | None, rank: int) -> float:
    """FLOPs of the row's steps that MFU counts; see `arithmetic`."""
    data, plan, loss = setting.data, setting.models.plan, setting.loss
    samples = range(len(data.samples))
    tokens = sum(data.length(i) for i in samples)
    answers = sum(data.answers(i) for i in samples)
    images = sum(data.images(i) for i in samples)
    head = plan.shape.vocab_size * plan.shape.hidden_size
    body = linear_weights(plan.shape, plan.kept_counts) - head
    tower, projector = vision_flops(setting.models)
    flops = 4 * (body * tokens + head * answers) + 3 * projector * images
    flops += 6 * lora_weights(plan.shape, plan.kept_counts, rank) * tokens
    if row is None or not row.cached:
        dense = linear_weights(plan.shape) - head
        flops += 2 * (dense * tokens + head * answers * bool(loss.beta)) + projector * images
    towers = 1 if row is not None and row.cached else 2
    return float(flops + tower * images * towers)


def arithmetic(models: Models, rank: int) -> str:
    """What `model_flops` counts, with this model's numbers."""
    plan = models.plan
    head = plan.shape.vocab_size * plan.shape.hidden_size
    body, dense = (linear_weights(plan.shape, k) - head for k in (plan.kept_counts, None))
    lora = lora_weights(plan.shape, plan.kept_counts, rank)
    tower, projector = vision_flops(models)
    return (
        f"MFU counts, per token: 4 x {body:,} frozen weights of the student's layers, 6 x {lora:,} "
        f"of LoRA, and 2 x {dense:,} of the teacher's layers where it runs; per answer token 4 x "
        f"{head:,} of the student's head, and 2 x as many of the teacher's where logits are "
        f"distilled; per image 3 x {projector:.3g} FLOPs of the projector, 1 x for a running "
        f"teacher's, and {tower:.3g} for each pass of a vision tower. Padding, attention's squares "
        "and anything recomputed count nothing."
    )


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


def figures(rows: list[Measured], data: Conversations, peak: float | None) -> Iterator[Any]:
    """The table's rows as plain values."""
    plain = rows[0]
    for row in rows:
        seconds = statistics.median(row.seconds)
        samples = [i for batch in row.batches for i in batch]
        tokens = sum(map(data.length, samples))
        parts = [[data.length(i) for i in part] for b in row.batches for part in row.plan(b)]
        room = sum(len(part) * max(part) for part in parts)
        same = row.batches == plain.batches
        apart = [abs(a / b - 1) for a, b in zip(row.losses, plain.losses, strict=True)]
        yield {
            "row": row.name,
            "samples_per_second": len(samples) / seconds,
            "tokens_per_second": tokens / seconds,
            "ratio": statistics.median(
                a / b for a, b in zip(plain.seconds, row.seconds, strict=True)
            ),
            "padding": 1 - tokens / room,
            "passes_per_step": len(parts) / len(row.batches),
            "peak_mib": row.peak_bytes / 2**20,
            "last_loss": row.losses[-1],
            "loss_apart": max(apart) if same else None,
            "tflops_per_second": row.flops / seconds / 1e12,
            "mfu": row.flops / seconds / peak / 1e12 if peak else None,
            "seconds": row.seconds,
        }


def table(title: str, rows: list[dict[str, Any]], gpu: bool) -> str:
    """The rows as Markdown."""
    columns = ["samples/s", "x plain", "padding", "peak MiB", "last loss", "loss off by at most"]
    lines = [f"\n{title}\n"]
    heads = ["", *columns, *(["tokens/s", "TFLOP/s", "MFU"] if gpu else [])]
    lines += ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in rows:
        apart = row["loss_apart"]
        cells = [
            row["row"],
            f"{row['samples_per_second']:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['padding']:.1%}",
            f"{row['peak_mib']:,.1f}",
            f"{row['last_loss']:.5f}",
            "other batches" if apart is None else f"{apart:.1e}",
        ]
        if gpu:
            mfu = "-" if row["mfu"] is None else f"{row['mfu']:.1%}"
            cells += [f"{row['tokens_per_second']:,.0f}", f"{row['tflops_per_second']:.1f}", mfu]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure every regime with every objective, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--tiny", action="store_true", help="the GPU's path, small, on the CPU")
    parser.add_argument("--batch-size", type=int, help="samples per optimizer step")
    parser.add_argument("--steps", type=int, default=2, help="optimizer steps of a run")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs per row")
    parser.add_argument("--objectives", nargs="+", choices=LOSSES, help="on a GPU: sft+rkl")
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=list(REGIMES))
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args()
    gpu = given.device != "cpu" and not given.tiny and torch.cuda.is_available()
    if given.device == "cuda" and not gpu:
        parser.error("there is no CUDA device; leave --device out, or give --tiny")
    as_gpu = gpu or given.tiny
    if not gpu:
        torch.set_num_threads(1)
    device = "cuda" if gpu else "cpu"
    batch_size = given.batch_size or (8 if given.tiny else 32 if gpu else 64)
    objectives = given.objectives or (["sft+rkl"] if gpu else list(LOSSES))
    models = random_models(device, given.tiny) if as_gpu else embedded_models()
    rank = 128 if gpu else 16
    weights = Weights(models.student, rank)
    student: Any = models.student
    student.train().get_submodule(LLAVA_LLAMA.vision_tower).eval()
    peak = peak_tflops(torch.device(device))
    where = torch.cuda.get_device_name() if gpu else f"CPU, 1 thread of {os.cpu_count()} cores"
    report: dict[str, Any] = {"device": where, "peak_tflops": peak, "tables": []}
    print(
        f"{where}, torch {torch.__version__}, {student.dtype}, attention "
        f"{student.config.text_config._attn_implementation}; {models.plan.lm_params / 1e6:,.1f} of "
        f"{models.plan.lm_params_dense / 1e6:,.1f} M parameters of the language model kept in "
        f"{len(models.plan.layers)} layers, LoRA rank {rank}; steps of {batch_size} samples"
    )
    if as_gpu:
        known = "unknown here" if peak is None else f"{peak:g} TFLOP/s"
        print(f"{arithmetic(models, rank)} Peak: {known}.")
    memory = Path("/dev/shm")  # a cache in memory is read as from a disk that is fast enough
    root = memory if gpu and memory.is_dir() else None
    for regime in given.regimes:
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            count = given.steps * batch_size
            data = Conversations(REGIMES[regime], count, models.scale, models.dense.config)
            caches = Caches(Path(scratch), models, data)
            setting = Setting(
                models, weights, data, caches, LOSSES["sft+rkl"], given.steps, batch_size
            )
            setting = best_size(setting, gpu)
            for objective in objectives:
                rows = measure(replace(setting, loss=LOSSES[objective]), gpu, given.repeats, rank)
                found = list(figures(rows, data, peak))
                title = (
                    f"{regime}, {objective}: {setting.mean_length:.0f} tokens on average, passes "
                    f"of {setting.plain_size} samples, ours of "
                    f"{setting.own_size * setting.mean_length:.0f} tokens"
                )
                print(table(title, found, as_gpu), flush=True)
                report["tables"].append({"title": title, "rows": found})
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
