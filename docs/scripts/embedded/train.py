"""Trains the embedded model and writes its weights: `python -m docs.scripts.embedded.train`.

1. The vision tower learns to name colour, shape and place of every patch, then it is frozen (a
   tower that only heard about answers learned nothing in 800 steps).
2. Projector and the first layers of the backbone learn to describe scenes and to answer, on a
   stream of fresh scenes of the `train` split: no scene comes twice.
3. Each trained layer is copied until the backbone is complete (progressive stacking, Gong et al.
   2019), and all of it trains on.

Tried and left: dropping layers, heads and neurons at random (pruning then cost too little to show
anything); twelve layers from the start, 1500 steps (88 %, and the last seven still did nearly
nothing: five could go for half a point), six layers doubled (92 %; five could go for three points).
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from docs.scripts.embedded import build
from docs.scripts.embedded.training_batches import Packed, Packer, patch_labels, scenes
from trainables.embedded.questions import KINDS
from trainables.embedded.scenes import CELLS, COLORS, SHAPES, draw
from trainables.models.collation import IGNORE

SEED = 20261121
DESCRIBED = (
    0.35  # share of stage 2 that describes scenes; without, answers broke through much later
)


def initialize(model: Any) -> None:
    """Draw the weights of backbone and projector at 1 / sqrt(inputs).

    The stock 0.02 is for a width of 4096; at width 128 it leaves every layer all but mute.
    """
    backbone = model.model.language_model
    nn.init.normal_(backbone.embed_tokens.weight, std=0.5)
    for name, parameter in backbone.layers.named_parameters():
        if parameter.dim() == 2:
            last = "o_proj" in name or "down_proj" in name
            nn.init.normal_(parameter, std=(0.3 if last else 1.0) * parameter.shape[1] ** -0.5)
    for linear in (
        model.model.multi_modal_projector.linear_1,
        model.model.multi_modal_projector.linear_2,
    ):
        nn.init.normal_(linear.weight, std=0.5 * linear.weight.shape[1] ** -0.5)
        nn.init.zeros_(linear.bias)


def image_features(model: Any, pixel_values: Tensor) -> Tensor:
    """Patch features [B, CELLS, width] of the frozen vision tower, as LLaVA reads them."""
    with torch.no_grad():
        states = model.model.vision_tower(pixel_values, output_hidden_states=True).hidden_states
    features: Tensor = states[-1][:, 1:]
    return features


def logits_of(model: Any, batch: Packed, chosen: Tensor, depth: int) -> Tensor:
    """Logits [N, vocabulary] at the N places of `chosen` [B, T], through the first layers only."""
    backbone = model.model.language_model
    images = model.model.multi_modal_projector(image_features(model, batch.pixel_values))
    words = backbone.embed_tokens(batch.input_ids)
    hidden = torch.cat([words[:, :1], images, words[:, 1 + CELLS :]], dim=1)
    rotary = backbone.rotary_emb(hidden, position_ids=batch.positions)
    visible = batch.visible()
    for layer in backbone.layers[:depth]:
        hidden = layer(hidden, attention_mask=visible, position_embeddings=rotary)
    logits: Tensor = model.lm_head(backbone.norm(hidden[chosen]))
    return logits


def accuracy(model: Any, packer: Packer, batches: int, depth: int) -> dict[str, float]:
    """Share of right answers per kind, in percent, with the first `depth` layers."""
    model.eval()
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for _ in range(batches):
        batch = packer.batch(16)
        with torch.no_grad():
            logits = logits_of(model, batch, batch.answers, depth)
        hits = (logits.argmax(-1) == batch.labels[batch.answers]).tolist()
        total.update(batch.kinds)
        right.update(k for k, hit in zip(batch.kinds, hits, strict=True) if hit)
    model.train()
    return {kind: 100 * right[kind] / total[kind] for kind in KINDS}


def train_vision(model: Any, seed: int, steps: int) -> None:
    """Stage 1: colour, shape and place of every patch from its feature."""
    rng = random.Random(seed)
    stream, pixels = scenes("train", rng), build.processor().image_processor
    tower = model.model.vision_tower
    width = tower.config.hidden_size
    heads = nn.ModuleList(nn.Linear(width, n) for n in (len(COLORS) + 1, len(SHAPES) + 1, CELLS))
    optimizer = torch.optim.AdamW([*tower.parameters(), *heads.parameters()], weight_decay=0.01)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * schedule(step, steps)
        taken = [next(stream) for _ in range(32)]
        images = [draw(scene, rng) for scene in taken]
        values = pixels(images, return_tensors="pt")["pixel_values"]
        features = tower(values, output_hidden_states=True).hidden_states[-1][:, 1:].flatten(0, 1)
        targets = (
            patch_labels(taken, list(COLORS), "color"),
            patch_labels(taken, list(SHAPES), "shape"),
            torch.arange(CELLS).repeat(len(taken)),
        )
        logits = [head(features) for head in heads]
        loss = torch.stack([cross_entropy(o, t) for o, t in zip(logits, targets, strict=True)])
        loss.sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 200 == 199 or step == steps - 1:
            hits = [
                (o.argmax(-1) == t).float().mean() for o, t in zip(logits, targets, strict=True)
            ]
            print(f"vision {step + 1:5d}", *(f"{float(h):.4f}" for h in hits), flush=True)
    tower.requires_grad_(False)


def muon_of(matrices: list[nn.Parameter]) -> torch.optim.Muon:
    """Muon (Jordan et al. 2024) with the learning rate on AdamW's scale (update RMS 0.2).

    In bfloat16: a step of 28 matrices takes 28 ms on a CPU with units for it, else 0.65 s.
    """
    return torch.optim.Muon(matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")


def train_language(
    model: Any,
    seed: int,
    steps: int,
    depth: int,
    batch_scenes: int,
    lr: float,
    described: float,
) -> None:
    """Stages 2 and 3: projector and the first `depth` layers of the backbone learn to answer."""
    backbone = model.model.language_model
    packer, probe = Packer(seed, "train"), Packer(seed + 1, "search", describe=False)
    layers = backbone.layers[:depth]
    matrices = [p for p in layers.parameters() if p.dim() == 2]
    others = [p for p in layers.parameters() if p.dim() == 1]
    for part in (
        model.model.multi_modal_projector,
        backbone.embed_tokens,
        backbone.norm,
        model.lm_head,
    ):
        others += part.parameters()
    muon = muon_of(matrices)
    adamw = torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0)
    start, running = time.monotonic(), 0.0
    model.train()
    for step in range(steps):
        packer.describe = step < described * steps
        batch = packer.batch(batch_scenes)
        logits = logits_of(model, batch, batch.labels != IGNORE, depth)
        loss = cross_entropy(logits, batch.labels[batch.labels != IGNORE])
        loss.backward()
        nn.utils.clip_grad_norm_([*matrices, *others], 1.0)
        factor = schedule(step, steps)
        adamw.param_groups[0]["lr"] = 0.5 * lr * factor
        muon.param_groups[0]["lr"] = lr * factor
        muon.step()
        adamw.step()
        model.zero_grad()
        running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
        if step % 50 == 49 or step == steps - 1:
            scores = accuracy(model, probe, 4, depth)
            text = " ".join(f"{kind} {score:.0f}" for kind, score in scores.items())
            mean = sum(scores.values()) / len(scores)
            seconds = time.monotonic() - start
            print(
                f"{step + 1:5d} {seconds:5.0f} s loss {running:.3f} {mean:.1f} {text}", flush=True
            )


def deepen(model: Any, depth: int) -> None:
    """Fill all layers with copies of the first `depth`, each adding its share of the original."""
    layers = model.model.language_model.layers
    copies = len(layers) // depth
    for index in reversed(range(len(layers))):
        layers[index].load_state_dict(layers[index // copies].state_dict())
    with torch.no_grad():
        for layer in layers:
            layer.self_attn.o_proj.weight /= copies
            layer.mlp.down_proj.weight /= copies


def schedule(step: int, steps: int) -> float:
    """Warm-up over 3 % of the steps, then cosine decay to a hundredth."""
    warmup = max(1, int(0.03 * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train(args: argparse.Namespace) -> Any:
    """The trained model, in float32."""
    from transformers import LlavaForConditionalGeneration

    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    model: Any = LlavaForConditionalGeneration(build.config())
    initialize(model)
    kept = args.work / "shallow.safetensors" if args.work else None
    if kept and kept.exists():
        model.load_state_dict(load_file(kept))
        model.model.vision_tower.requires_grad_(False)
    else:
        train_vision(model, SEED, args.vision_steps)
        train_language(
            model, SEED + 1, args.shallow_steps, args.depth, args.scenes, args.lr, DESCRIBED
        )
        if kept:
            save_file(model.state_dict(), kept)
    deepen(model, args.depth)
    whole = len(model.model.language_model.layers)
    train_language(model, SEED + 3, args.steps, whole, args.scenes, args.deep_lr, 0.0)
    return model


def main() -> None:
    """Train with the shipped recipe and write the weights folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--to", type=Path, default=build.WEIGHTS, help="folder for the weights")
    parser.add_argument("--work", type=Path, help="folder that keeps stage 2, to try stage 3 again")
    parser.add_argument("--vision-steps", type=int, default=700)
    parser.add_argument("--depth", type=int, default=4, help="layers trained before stacking")
    parser.add_argument("--shallow-steps", type=int, default=1600)
    parser.add_argument("--steps", type=int, default=350, help="steps of the whole backbone")
    parser.add_argument("--scenes", type=int, default=12, help="scenes per step")
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--deep-lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    start = time.monotonic()
    model = train(args)
    build.save(model, args.to)
    print(f"{time.monotonic() - start:.0f} s; weights in {args.to}")


if __name__ == "__main__":
    main()
