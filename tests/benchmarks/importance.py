"""What scoring importance costs: passes over the data, time, and peak memory.

Usage: `python tests/benchmarks/importance.py`, about two minutes on one core and 3 GB of memory;
Linux, because it reads the peak memory of a process from /proc.

A: plans for four ratios from one scoring pass, against one scoring pass per ratio (the study's
code), for both methods on a small model.
B: Taylor scoring of a model of 0.2 B parameters, float32, 2 x 128 tokens, in a process of its own
per variant. `naive` keeps the gradients of the whole decoder and scores afterwards; `streamed` is
`score_taylor`. Memory is the peak over that of the imports, as a ratio to weights + activations:
the peak of a forward pass that keeps the graph for all decoder weights. Both variants must give
the same scores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import LlavaConfig, LlavaForConditionalGeneration

from trainables.models.families.llava import LLAVA_LLAMA
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.scoring.groups import GroupSums, grouped_linears
from trainables.pruning.scoring.importance import score_importance
from trainables.pruning.scoring.layer_stream import decoder_layers
from trainables.pruning.scoring.taylor import score_taylor
from trainables.specs import PruningSpec

RATIOS = (0.15, 0.30, 0.45, 0.60)
VARIANTS = ("activations", "naive", "streamed", "streamed, 2 batches")
SMALL = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 12}
LARGE = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 14}
IMAGE_TOKENS, VOCABULARY = 16, 8192


def build(sizes: dict[str, int]) -> LlavaForConditionalGeneration:
    """A random LLaVA with a Llama backbone of these sizes; nothing requires a gradient."""
    text = {
        "model_type": "llama",
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "vocab_size": VOCABULARY,
        **sizes,
    }
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    config = LlavaConfig.from_dict(
        {
            "text_config": text,
            "vision_config": vision,
            "image_token_index": VOCABULARY - 1,
            "vision_feature_layer": -1,
        }
    )
    torch.manual_seed(0)
    model: LlavaForConditionalGeneration = LlavaForConditionalGeneration(config).eval()
    model.requires_grad_(False)
    return model


def batch(samples: int, tokens: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random conversations of one image each, of which the last half is the response."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCABULARY - 1, (samples, tokens), generator=generator)
    ids[:, 1 : 1 + IMAGE_TOKENS] = VOCABULARY - 1
    labels = ids.clone()
    labels[:, : tokens // 2] = -100
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": labels,
        "pixel_values": torch.randn(samples, 3, 32, 32, generator=generator),
    }


def decoder_linears(model: LlavaForConditionalGeneration) -> list[torch.nn.Parameter]:
    """The weights that Taylor importance needs the gradients of."""
    layers = decoder_layers(model, LLAVA_LLAMA)
    return [
        layer.get_parameter(f"{projection.path}.weight")
        for layer in layers
        for projection in LLAVA_LLAMA.projections
    ]


def naive(model: LlavaForConditionalGeneration, data: dict[str, torch.Tensor]) -> np.ndarray:
    """|w * g| per neuron from the gradients of the whole decoder."""
    for parameter in decoder_linears(model):
        parameter.requires_grad_(True)
    model(**data, use_cache=False).loss.backward()
    shape = LLAVA_LLAMA.language_shape(model.config.to_dict())
    rows = []
    for layer in decoder_layers(model, LLAVA_LLAMA):
        sums = GroupSums(LLAVA_LLAMA.layer_shape(layer, shape), model.device)
        for linear in grouped_linears(layer, LLAVA_LLAMA, shape):
            weight = linear.module.weight
            assert weight.grad is not None
            sums.add(linear, (weight.detach() * weight.grad).abs())
        rows.append(sums.scores("sum")[1].numpy())
    for parameter in decoder_linears(model):
        parameter.grad = None
        parameter.requires_grad_(False)
    return np.stack(rows)


def run_variant(name: str, target: Path) -> None:
    """Measure one variant in this process; writes its figures and its scores below `target`."""
    torch.set_num_threads(1)
    imports = _memory("VmRSS")
    model, data = build(LARGE), batch(samples=2, tokens=128)
    weights = _memory("VmRSS") - imports
    halves = [{k: v[i : i + 1] for k, v in data.items()} for i in range(2)]
    scores: np.ndarray | None = None
    seconds = []
    for _ in range(2):  # the second time is warm; the peak is that of both
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        start = time.perf_counter()
        if name == "activations":
            for parameter in decoder_linears(model):
                parameter.requires_grad_(True)
            model(**data, use_cache=False)
        elif name == "naive":
            scores = naive(model, data)
        else:
            given = halves if "2 batches" in name else [data]
            scores = score_taylor(model, LLAVA_LLAMA, given).neurons
        seconds.append(time.perf_counter() - start)
    figures = {
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "weights_mib": weights,
        "peak_mib": _memory("VmHWM") - imports,
        "seconds": min(seconds),
    }
    if scores is not None:
        np.save(target.with_suffix(".npy"), scores)
    target.with_suffix(".json").write_text(json.dumps(figures))


def _memory(field: str) -> float:
    """A memory figure of this process, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def compare_memory(console: Console) -> None:
    """Table B."""
    table = Table(title="Taylor scoring, 0.2 B parameters, float32, 2 x 128 tokens")
    for column in ("variant", "seconds", "peak MiB", "peak / weights", "peak / (weights + act.)"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    figures: dict[str, Any] = {}
    scores: dict[str, np.ndarray] = {}
    # Every large tensor in a mapping of its own, so that what is freed leaves the process.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        for number, name in enumerate(VARIANTS):
            target = Path(scratch) / f"variant{number}"
            command = [sys.executable, __file__, name, str(target)]
            subprocess.run(command, env=environment, check=True)
            figures[name] = json.loads(target.with_suffix(".json").read_text())
            if target.with_suffix(".npy").exists():
                scores[name] = np.load(target.with_suffix(".npy"))
    both = figures["activations"]["peak_mib"]
    for name, found in figures.items():
        table.add_row(
            "forward pass with graph" if name == "activations" else name,
            f"{found['seconds']:.2f}",
            f"{found['peak_mib']:.0f}",
            f"{found['peak_mib'] / found['weights_mib']:.2f}",
            f"{found['peak_mib'] / both:.2f}",
        )
    console.print(table)
    console.print(f"{figures['naive']['params'] / 1e6:.0f} M parameters")
    for name in VARIANTS[2:]:
        error = np.abs(scores[name] / scores["naive"] - 1).max()
        console.print(f"largest relative difference of {name} from naive: {error:.1e}")


def compare_passes(console: Console) -> None:
    """Table A."""
    model, data = build(SMALL), [batch(samples=4, tokens=64, seed=seed) for seed in range(4)]
    shape = LLAVA_LLAMA.language_shape(model.config.to_dict())
    table = Table(title="plans for four ratios, 16 samples of 64 tokens")
    for column in ("method", "one pass, s", "one pass per ratio, s", "ratio"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for method in ("layerwise", "widthwise"):
        specs = [PruningSpec(method=method, ratio=ratio) for ratio in RATIOS]
        score_importance(model, LLAVA_LLAMA, data, specs[0])  # warm
        start = time.perf_counter()
        scores = score_importance(model, LLAVA_LLAMA, data, specs[0])
        plans = [plan_pruning(scores, shape, spec) for spec in specs]
        once = time.perf_counter() - start
        start = time.perf_counter()
        again = [
            plan_pruning(score_importance(model, LLAVA_LLAMA, data, spec), shape, spec)
            for spec in specs
        ]
        each = time.perf_counter() - start
        assert plans == again
        table.add_row(method, f"{once:.2f}", f"{each:.2f}", f"{each / once:.2f}")
    console.print(table)


def main() -> None:
    """Print both tables, or measure one variant where its name and a path are given."""
    if len(sys.argv) == 3:
        run_variant(sys.argv[1], Path(sys.argv[2]))
        return
    torch.set_num_threads(1)
    console = Console()
    compare_passes(console)
    compare_memory(console)


if __name__ == "__main__":
    main()
