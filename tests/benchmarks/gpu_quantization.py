"""Memory and latency of the study's Table 4 at LLaVA-1.5-7B's shape, on one GPU.

Usage: `python tests/benchmarks/gpu_quantization.py`, some minutes and 45 GB of GPU memory; `--tiny`
runs the same with a small shape on the CPU in seconds. Needs torch, transformers, bitsandbytes and
torchao, but neither ray nor deepspeed nor lmms_eval. Weights are random (bfloat16, made on the
device), so the figures are about memory and time, not about quality; LLM.int8's share of outlier
columns depends on the weights too, and with random ones there are next to none.

Prints a Markdown table: the dense model and 15 and 30 % of it removed layerwise, each as it is and
quantized. `weights` are they as they are stored, with scales, and `allocated` is what the GPU's
allocator says of them, both in thousand MiB, the unit of the printed column. Latency is the median
in ms at batch 1, one image and 50 tokens of prompt: up to the first token (`prefill`) and up to the
eighth, `dense` being that of the dense model in turn with it. The study printed memory and latency
without saying what is in them.
"""

from __future__ import annotations

import argparse
import gc

import numpy as np
import torch
import transformers
from gpu_pruning import TINY_TEXT, TINY_VISION
from llava_7b import random_llava
from transformers import LlavaForConditionalGeneration

from analysis.published.study import load_published
from trainables.common.device import device_name
from trainables.efficiency.latency import measure_latency
from trainables.efficiency.measure import measure
from trainables.efficiency.quantize import quantize, quantized_efficiency
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.pruning.planning.planner import PrunePlan, plan_pruning
from trainables.pruning.planning.scores import ImportanceScores, ScoreMetadata
from trainables.pruning.surgery import apply_plan
from trainables.specs import EfficiencySpec, PruningSpec, Quantization

RATIOS = (0.0, 0.15, 0.30)
QUANTIZATIONS: tuple[Quantization, ...] = ("none", "llm_int8", "nf4", "int8_weight_only")
PRINTED_NAME = {"none": "none", "llm_int8": "llm.int8"}
TOKENS = 8
UNIT = 1000 * 2**20  # bytes; Table 4 prints what Table 7 has in MiB, over 1000
HEAD = (
    "| removed | quantization | weights | allocated | printed | prefill | 8 tokens | quartiles | "
    "dense | printed ms |"
)


def plan_of(model: LlavaForConditionalGeneration, ratio: float) -> PrunePlan:
    """Layers from the end; which ones are gone matters neither to memory nor to time."""
    shape = LLAVA_LLAMA.language_shape(model.config.to_dict())
    block = np.arange(shape.num_hidden_layers, 0, -1, dtype=np.float32)
    scores = ImportanceScores(ScoreMetadata(method="layerwise"), block=block)
    return plan_pruning(scores, shape, PruningSpec(method="layerwise", ratio=ratio), "")


def allocated() -> int | None:
    """Bytes that the GPU's allocator has handed out; None without one."""
    gc.collect()
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else None


def row(
    dense: LlavaForConditionalGeneration, ratio: float, kind: Quantization, repeats: int
) -> str:
    """One line of the table."""
    tiny = dense.config.text_config.hidden_size == TINY_TEXT["hidden_size"]
    spec = EfficiencySpec(new_tokens=TOKENS, latency_repeats=repeats)
    first = spec.model_copy(update={"new_tokens": 1})
    before, plan = allocated(), plan_of(dense, ratio)
    student = apply_plan(dense, LLAVA_LLAMA, plan)
    report = measure(student, LLAVA_LLAMA, spec, "bfloat16")
    if kind != "none":
        student = quantize(student, LLAVA_LLAMA, kind)
        report = quantized_efficiency(report, student, kind, "bfloat16")
    after = allocated()
    held = "-" if before is None or after is None else f"{(after - before) / UNIT:.2f}"
    prefill = measure_latency(student, dense, LLAVA_LLAMA, first)
    whole = measure_latency(student, dense, LLAVA_LLAMA, spec)
    printed = ("-", "-") if tiny else printed_row(ratio, kind)
    return (
        f"| {plan.ratio:.1%} | {kind} | {report.weights_mib * 2**20 / UNIT:.4g} | {held} | "
        f"{printed[0]} | {prefill.median_ms:.1f} | {whole.median_ms:.1f} | "
        f"{whole.lower_ms:.1f} to {whole.upper_ms:.1f} | {whole.dense_median_ms:.1f} | "
        f"{printed[1]} |"
    )


def printed_row(ratio: float, kind: Quantization) -> tuple[str, str]:
    """(memory, latency) as the study printed them; dashes where it has no such row."""
    for found in load_published()["quantization"]:
        if (found["nominal_ratio"], found["quantization"]) == (ratio, PRINTED_NAME.get(kind)):
            return f"{found['memory_gib']}", f"{found['latency_ms']}"
    return "-", "-"


def main() -> None:
    """Measure every row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a small shape on the CPU")
    parser.add_argument("--repeats", type=int, default=20, help="timed generations per model")
    given = parser.parse_args()
    device = "cpu" if given.tiny or not torch.cuda.is_available() else "cuda"
    if device == "cpu" and not given.tiny:
        parser.error("there is no CUDA device; give --tiny for a small run on the CPU")
    if device == "cpu":
        torch.set_num_threads(1)
    dense = random_llava(device, TINY_TEXT, TINY_VISION) if given.tiny else random_llava(device)
    lines = [
        row(dense, ratio, kind, 3 if given.tiny else given.repeats)
        for ratio in RATIOS
        for kind in QUANTIZATIONS
    ]
    print(
        f"{device_name(torch.device(device))}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}; bfloat16, random weights\n"
    )
    print("\n".join([HEAD, "|" + "---|" * (HEAD.count("|") - 1), *lines]))


if __name__ == "__main__":
    main()
