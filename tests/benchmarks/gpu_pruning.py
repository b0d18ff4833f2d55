"""Scoring, planning, pruning, export and reload of a model of LLaVA-1.5-7B's shape on one GPU.

Usage: `python tests/benchmarks/gpu_pruning.py`, a few minutes and 30 GB of GPU memory; `--tiny`
runs the same with a small shape on the CPU in seconds. Needs torch and transformers, but neither
ray nor deepspeed nor lmms_eval. Weights are random (bfloat16, made on the device), so the figures
are about time and memory, not about quality. Ten calibration samples of 700 tokens each, 576 of
them of the image, as in the study. Prints a Markdown table: seconds, and the peak of allocated GPU
memory of the stage, weights of the dense model included. The reloaded student must equal the
pruned one exactly.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from llava_7b import NAME, random_llava
from transformers import CLIPImageProcessor, LlavaForConditionalGeneration

from trainables.models.dense import DenseModel
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.pruning.export import export_student
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.scoring.importance import score_importance
from trainables.pruning.surgery import apply_plan
from trainables.specs import ImportanceSpec, ModelSpec, PruningSpec

RATIO, SAMPLES = 0.30, 10
TINY_TEXT = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 8,
             "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 1024}  # fmt: skip
TINY_VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
               "num_attention_heads": 2, "image_size": 112}  # fmt: skip


class Stages:
    """Seconds and peak memory of what was run, in order."""

    def __init__(self, device: str) -> None:
        self.gpu = device == "cuda"
        self.rows: list[tuple[str, float, float | None]] = []

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Measure the block as `stage`."""
        if self.gpu:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        yield
        if self.gpu:
            torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.gpu else None
        self.rows.append((stage, time.perf_counter() - start, peak))

    def table(self) -> str:
        """The rows as Markdown."""
        lines = ["| stage | seconds | peak GiB |", "|---|---:|---:|"]
        for stage, seconds, peak in self.rows:
            lines.append(f"| {stage} | {seconds:.2f} | {'-' if peak is None else f'{peak:.2f}'} |")
        return "\n".join(lines)


def build(tiny: bool, device: str) -> LlavaForConditionalGeneration:
    """The random model, frozen and in eval mode."""
    return random_llava(device, TINY_TEXT, TINY_VISION) if tiny else random_llava(device)


def calibration(config: Any, text_tokens: int, size: int) -> list[dict[str, torch.Tensor]]:
    """Random conversations: an image, a prompt, and a response of the last 64 tokens."""
    generator = torch.Generator().manual_seed(1)
    vision = config.vision_config
    image_tokens = (vision.image_size // vision.patch_size) ** 2
    tokens = image_tokens + text_tokens
    batches = []
    for start in range(0, SAMPLES, size):
        count = min(size, SAMPLES - start)
        ids = torch.randint(3, config.image_token_id, (count, tokens), generator=generator)
        ids[:, 1 : 1 + image_tokens] = config.image_token_id
        labels = ids.clone()
        labels[:, :-64] = -100
        pixels = torch.randn(count, 3, vision.image_size, vision.image_size, generator=generator)
        batches.append(
            {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "labels": labels,
                "pixel_values": pixels,
            }
        )
    return batches


def main() -> None:
    """Run every stage for both methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a small shape on the CPU")
    parser.add_argument("--batch-size", type=int, default=5, help="conversations per pass")
    parser.add_argument("--text-tokens", type=int, default=124, help="besides those of the image")
    given = parser.parse_args()
    device = "cpu" if given.tiny or not torch.cuda.is_available() else "cuda"
    if device == "cpu" and not given.tiny:
        parser.error("there is no CUDA device; give --tiny for a small run on the CPU")
    if device == "cpu":
        torch.set_num_threads(1)
    stages = Stages(device)
    with stages("build dense model"):
        model = build(given.tiny, device)
    spec = ModelSpec(path=NAME, dtype="bfloat16")
    shape = LLAVA_LLAMA.language_shape(model.config.to_dict())
    batches = calibration(model.config, given.text_tokens, given.batch_size)
    with torch.no_grad():  # warms kernels up
        first = {k: v[:1].to(device) for k, v in batches[0].items() if k != "labels"}
        first["pixel_values"] = first["pixel_values"].to(torch.bfloat16)
        model(**first)
    with tempfile.TemporaryDirectory() as scratch:
        (base := Path(scratch) / "base").mkdir()
        processor = CLIPImageProcessor()
        dense = DenseModel(model, processor, LLAVA_LLAMA, shape, {"weights": "random"}, base, spec)
        for method in ("layerwise", "widthwise"):
            importance = ImportanceSpec(samples=SAMPLES, batch_size=given.batch_size)
            pruning = PruningSpec(method=method, ratio=RATIO, importance=importance)
            name = {"layerwise": "block influence", "widthwise": "Taylor"}[method]
            with stages(f"{name}: score"):
                scores = score_importance(model, LLAVA_LLAMA, batches, pruning)
            with stages(f"{method}: plan {RATIO:.0%}"):
                plan = plan_pruning(scores, shape, pruning, "random")
            with stages(f"{method}: apply"):
                student = apply_plan(model, LLAVA_LLAMA, plan)
            with stages(f"{method}: apply and export"):
                folder = export_student(dense, plan, None, Path(scratch) / method)
            with stages(f"{method}: reload"):
                again: Any = LlavaForConditionalGeneration.from_pretrained(
                    folder, dtype=torch.bfloat16
                )
                again.to(device)
            check_equal(student, again)
            print(f"{method}: {plan.lm_params:,} of {plan.lm_params_dense:,} parameters kept")
            del student, again
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    tokens = batches[0]["input_ids"].shape[1]
    total = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"\n{where}, torch {torch.__version__}, transformers {transformers.__version__}; "
        f"{total / 1e9:.2f} B parameters, bfloat16, {SAMPLES} x {tokens} tokens in batches "
        f"of {given.batch_size}\n"
    )
    print(stages.table())


def check_equal(student: torch.nn.Module, again: torch.nn.Module) -> None:
    """Raise unless both models hold the same tensors."""
    expected, found = student.state_dict(), again.state_dict()
    strange = [n for n in {*expected, *found} if n not in expected or n not in found]
    strange += [n for n in expected if n in found and not torch.equal(expected[n], found[n])]
    if strange:
        raise SystemExit(f"{len(strange)} tensors of the reloaded model differ: {strange[:3]}")


if __name__ == "__main__":
    main()
