"""Memory, latency and energy of a model of LLaVA-1.5-7B's shape, dense and pruned, on one GPU.

Usage: `python tests/benchmarks/gpu_cost.py`, some minutes and 40 GB of GPU memory. `--tiny` runs
the same with a small shape, one ratio and few repeats on the CPU, in a minute at most. Needs torch
and transformers, and nvidia-ml-py for energy, but neither ray nor deepspeed nor lmms_eval. Weights
are random (bfloat16, made on the device) and what is pruned is drawn, which changes no size and no
time. Each student takes turns with the dense model, so nothing else should run on the machine.
Prints two Markdown tables: memory as torch's allocator saw it, beside what is computed without a
device, and milliseconds of one image, 50 text tokens and the new ones.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
import transformers
from llava_7b import random_llava

from trainables.common.device import device_name
from trainables.efficiency.latency import measure_latency
from trainables.efficiency.measure import stored_bytes
from trainables.efficiency.memory import computed_memory, measured_memory
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.scoring.importance import score_importance
from trainables.pruning.surgery import apply_plan
from trainables.records import Latency
from trainables.specs import EfficiencySpec, ImportanceSpec, Method, PruningSpec

DTYPE = "bfloat16"
TINY_TEXT = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 8,
             "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 1024}  # fmt: skip
TINY_VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
               "num_attention_heads": 2, "image_size": 112}  # fmt: skip
METHODS: tuple[Method, ...] = ("layerwise", "widthwise")


def student_of(model: Any, method: Method, ratio: float) -> Any:
    """A student with drawn layers, or heads and neurons."""
    pruning = PruningSpec(
        method=method, ratio=ratio, importance=ImportanceSpec(layers="random", groups="random")
    )
    scores = score_importance(model, LLAVA_LLAMA, [], pruning)
    shape = LLAVA_LLAMA.language_shape(model.config.to_dict())
    return apply_plan(model, LLAVA_LLAMA, plan_pruning(scores, shape, pruning, "random"))


def memory_row(name: str, model: Any, spec: EfficiencySpec) -> str:
    """Measured (computed) MiB of the parts and of the sum."""
    weights = stored_bytes(model, DTYPE)
    computed = computed_memory(model, LLAVA_LLAMA, spec, weights, DTYPE)
    cuda = next(model.parameters()).is_cuda
    found = measured_memory(model, LLAVA_LLAMA, spec, weights) if cuda else computed
    cells = [
        f"{getattr(found, part):,.1f} ({getattr(computed, part):,.1f})"
        for part in ("weights_mib", "kv_cache_mib", "activations_mib", "total_mib")
    ]
    return f"| {name} | {found.how} | {' | '.join(cells)} |"


def latency_row(name: str, got: Latency) -> str:
    """Milliseconds, tokens per second and joules."""
    numbers = [got.prefill_ms, got.decode_ms, got.tokens_per_second, got.energy_joules]
    cells = ["-" if number is None else f"{number:,.2f}" for number in numbers]
    whole = f"{got.median_ms:.2f} ({got.lower_ms:.2f} to {got.upper_ms:.2f})"
    return f"| {name} | {got.batch} | {whole} | {got.dense_median_ms:.2f} | {' | '.join(cells)} |"


def main() -> None:
    """Measure dense model and students, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a small shape on the CPU")
    parser.add_argument("--ratios", type=float, nargs="+")
    parser.add_argument("--batch", type=int, default=8, help="the second batch size")
    parser.add_argument("--new-tokens", type=int, default=8)
    parser.add_argument("--repeats", type=int)
    given = parser.parse_args()
    if not given.tiny and not torch.cuda.is_available():
        parser.error("there is no CUDA device; give --tiny for a small run on the CPU")
    device = "cpu" if given.tiny else "cuda"
    if given.tiny:
        torch.set_num_threads(1)
    dense = random_llava(device, TINY_TEXT, TINY_VISION) if given.tiny else random_llava(device)
    ratios = given.ratios or ([0.30] if given.tiny else [0.15, 0.30, 0.45, 0.60])
    repeats = given.repeats or (3 if given.tiny else 20)
    spec = EfficiencySpec(new_tokens=given.new_tokens, latency_repeats=repeats)
    cells: list[tuple[str, Method | None, float]] = [("dense", None, 0.0)]
    cells += [(f"{method} {ratio:.2f}", method, ratio) for method in METHODS for ratio in ratios]
    memory, latency = [], []
    for name, method, ratio in cells:
        student = student_of(dense, method, ratio) if method else dense
        memory.append(memory_row(name, student, spec))
        for batch in (1, given.batch):
            got = measure_latency(student, dense, LLAVA_LLAMA, spec, batch)
            latency.append(latency_row(name, got))
        del student
    where = device_name(torch.device(device))
    print(
        f"{where}, torch {torch.__version__}, transformers {transformers.__version__}, {DTYPE}, "
        f"{spec.prompt_tokens} text tokens, {spec.new_tokens} new ones, {spec.latency_repeats} "
        "repeats\n"
    )
    print("MiB; computed ones in parentheses\n")
    print("| model | how | weights | KV cache | activations | sum |")
    print("|---|---|---:|---:|---:|---:|")
    print("\n".join(memory))
    print("\n| model | batch | ms (quartiles) | dense ms | prefill ms | ms per further token | "
          "tokens/s | J |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    print("\n".join(latency))


if __name__ == "__main__":
    main()
