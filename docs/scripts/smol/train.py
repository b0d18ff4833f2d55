"""Trains what is ours in the model `smol`: `python -m docs.scripts.smol.train`.

1. The vision tower learns to name colour, shape and place of the picture's thing from every patch.
   The thing is cut out and put elsewhere, mirrored, turned and at another size: on the pictures as
   they are, it knew 98 % of the training shapes and 80 % of the others.
2. Projector and a LoRA update of all linear layers of the language model learn to answer
   easy-VQA's training questions and ours about the same pictures; the tower is frozen.

A sequence is the image followed by one segment per question. A segment sees the image and itself,
at the positions that it would have alone, so the answers are those of separate samples.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.embedded import smol_model as smol
from trainables.embedded.data import Question
from trainables.embedded.smol_dataset import Asker
from trainables.embedded.smol_pictures import COLORS, KINDS, PIXELS, SHAPES, Picture, read
from trainables.models.collation import IGNORE, pad

SEED = 20261129
RANK = 8
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TOWER_STEPS, TOWER_BATCH, TOWER_RATE = 3000, 64, 1e-3
STEPS, BATCH, RATE = 260, 8, 1e-3
QUESTIONS = {"color": 1, "shape": 1, "existence": 3, "position": 1, "either": 1}  # of one image


def schedule(step: int, steps: int) -> float:
    """Linear warm-up over 5 % of the steps, then a cosine to zero."""
    warm = max(1, steps // 20)
    return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / steps)))


def optimise(parameters: Any, rate: float, steps: int) -> tuple[Any, Any]:
    """AdamW and its schedule."""
    adam = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    return adam, torch.optim.lr_scheduler.LambdaLR(adam, lambda step: schedule(step, steps))


def moved(picture: Picture, rng: random.Random) -> tuple[Image.Image, tuple[float, float]]:
    """The picture with its thing elsewhere, mirrored or turned, at 0.7 to 1.4 times its size.

    Returns:
        The image, and (x, y) of the thing's centre.
    """
    image, edge = Image.open(picture.path).convert("RGB"), 2  # pixels, for smooth borders
    around = ImageOps.expand(image, edge, picture.background)
    left, top, right, bottom = picture.box
    free = around.crop((left, top, right + 2 * edge, bottom + 2 * edge))
    if rng.random() < 0.5:
        free = ImageOps.mirror(free)
    if picture.shape != "triangle" and rng.random() < 0.5:
        free = free.transpose(Image.Transpose.TRANSPOSE)
    scale = rng.uniform(0.7, 1.4)
    size = [min(PIXELS, max(8, round(scale * side))) for side in free.size]
    free = free.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    x, y = (rng.randint(0, PIXELS - side) for side in free.size)
    canvas = Image.new("RGB", image.size, picture.background)
    canvas.paste(free, (x, y))
    return canvas, (x + free.width / 2, y + free.height / 2)


def shape_of(tower: Any, head: Any, pictures: Sequence[Picture], images: Any) -> float:
    """Share of pictures whose shape the mean of the patches' answers names."""
    told = [picture for picture in pictures if picture.shape]
    pixels = images([Image.open(p.path).convert("RGB") for p in told], return_tensors="pt")
    with torch.no_grad():
        found = head(tower(pixels["pixel_values"]).last_hidden_state[:, 1:]).mean(1).argmax(-1)
    return sum(SHAPES[i] == p.shape for i, p in zip(found, told, strict=True)) / len(told)


def train_tower(
    tower: Any,
    pictures: Sequence[Picture],
    held_out: Sequence[Picture],
    images: Any,
    steps: int,
) -> None:
    """Stage 1: a linear head on every patch for each thing to name."""
    heads = nn.ModuleList(nn.Linear(tower.config.hidden_size, n) for n in (len(COLORS), 3, 8, 8))
    adam, rate = optimise([*tower.parameters(), *heads.parameters()], TOWER_RATE, steps)
    rng = random.Random(SEED)
    tower.train()
    for step in range(steps):
        pixels, labels = [], []
        for picture in rng.sample(pictures, TOWER_BATCH):
            image, (x, y) = moved(picture, rng)
            shape = SHAPES.index(picture.shape) if picture.shape else IGNORE
            pixels.append(image)
            labels.append([list(COLORS).index(picture.color), shape, int(x) // 8, int(y) // 8])
        states = tower(images(pixels, return_tensors="pt")["pixel_values"]).last_hidden_state[:, 1:]
        truth = torch.tensor(labels)[:, None, :].expand(-1, states.shape[1], -1)
        found = [head(states) for head in heads]
        losses = [
            cross_entropy(logits.flatten(0, 1), truth[..., i].flatten(), ignore_index=IGNORE)
            for i, logits in enumerate(found)
        ]
        loss = torch.stack(losses).sum()
        loss.backward()
        adam.step()
        adam.zero_grad()
        rate.step()
        if step % 100 == 99:
            hits = [(f.argmax(-1) == truth[..., i]).float().mean() for i, f in enumerate(found)]
            shares = " ".join(f"{hit:.3f}" for hit in hits)
            print(f"tower {step + 1}: loss {loss.item():.3f}, right {shares}", flush=True)
        if step % 500 == 499:
            known = shape_of(tower, heads[1], held_out, images)
            print(f"tower {step + 1}: {known:.3f} of the held-out shapes", flush=True)
    tower.eval()


@dataclass(frozen=True)
class Packed:
    """B images with Q questions in all, padded to T tokens.

    Attributes:
        pixel_values: [B, 3, H, W].
        input_ids: [B, T].
        segments: [B, T]; 0 is the image's part, which all segments see; -1 is padding.
        positions: [B, T]; position ids.
        labels: [B, T]; the token to predict at each place, or -100.
        kinds: the Q kinds, in the order of their answers.
    """

    pixel_values: Tensor
    input_ids: Tensor
    segments: Tensor
    positions: Tensor
    labels: Tensor
    kinds: list[str]

    def visible(self) -> Tensor:
        """Additive attention mask [B, 1, T, T]: 0 where a place sees another, else -inf."""
        order = torch.arange(self.segments.shape[1])
        same = self.segments[:, :, None] == self.segments[:, None, :]
        seen = (same | (self.segments[:, None, :] == 0)) & (order[:, None] >= order[None, :])
        return torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)[:, None]


class Packer:
    """Asks about pictures, as the chat template writes it."""

    def __init__(self, processor: Any, rng: random.Random) -> None:
        """Args: processor: of the model. rng: the only source of chance."""
        self._processor, self._asker = processor, Asker(rng)
        mark = "\0"
        asked = processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": mark}]}],
            add_generation_prompt=True,
        )
        self._before, self._after = asked.split(mark)
        self._head = self._ids(
            self._before.replace(smol.IMAGE_TOKEN, smol.IMAGE_TOKEN * smol.PATCHES)
        )

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _questions(self, picture: Picture) -> list[Question]:
        kinds = [kind for kind, count in QUESTIONS.items() for _ in range(count)]
        asked = (self._asker.ask(picture, kind) for kind in kinds)
        return [question for question in asked if question is not None]

    def pack(self, pictures: Sequence[Picture]) -> Packed:
        """One batch."""
        kinds: list[str] = []
        ids: list[list[int]] = []
        segments: list[list[int]] = []
        positions: list[list[int]] = []
        labels: list[list[int]] = []
        for picture in pictures:
            row = list(self._head)
            segment, place, target = [0] * len(row), list(range(len(row))), [IGNORE] * len(row)
            for number, question in enumerate(self._questions(picture), start=1):
                asked = self._ids(question.text + self._after)
                said = self._ids(question.answer + self._processor.tokenizer.eos_token)
                part = asked + said[:-1]
                row += part
                segment += [number] * len(part)
                place += range(len(self._head), len(self._head) + len(part))
                target += [IGNORE] * (len(asked) - 1) + said
                kinds.append(question.kind)
            for rows, new in (
                (ids, row),
                (segments, segment),
                (positions, place),
                (labels, target),
            ):
                rows.append(new)
        images = [Image.open(p.path).convert("RGB") for p in pictures]
        return Packed(
            pixel_values=self._processor.image_processor(images, return_tensors="pt")[
                "pixel_values"
            ],
            input_ids=pad(ids, 0),
            segments=pad(segments, -1),
            positions=pad(positions, 0),
            labels=pad(labels, IGNORE),
            kinds=kinds,
        )


def logits_of(model: Any, batch: Packed) -> Tensor:
    """Logits [N, vocabulary] at the N places that have a label."""
    inner = model.model
    with torch.no_grad():
        features = inner.vision_tower(batch.pixel_values).last_hidden_state[:, 1:]
    hidden = inner.language_model.get_input_embeddings()(batch.input_ids)
    start = int((batch.input_ids[0] == model.config.image_token_index).nonzero()[0])
    images = inner.multi_modal_projector(features)
    hidden = torch.cat([hidden[:, :start], images, hidden[:, start + smol.PATCHES :]], dim=1)
    states = inner.language_model(
        inputs_embeds=hidden,
        attention_mask=batch.visible(),
        position_ids=batch.positions,
        use_cache=False,
    ).last_hidden_state
    logits: Tensor = model.lm_head(states[batch.labels != IGNORE])
    return logits


def right(batch: Packed, logits: Tensor, end: int) -> list[bool]:
    """Whether every token of each question's answer is predicted, its end too."""
    labels = batch.labels[batch.labels != IGNORE]
    hits, found, whole = (logits.argmax(-1) == labels).tolist(), [], True
    for hit, label in zip(hits, labels.tolist(), strict=True):
        whole = whole and hit
        if label == end:
            found.append(whole)
            whole = True
    return found


def score(model: Any, packer: Packer, pictures: Sequence[Picture], end: int) -> dict[str, float]:
    """Share of right answers by kind, in percent."""
    good, asked = Counter[str](), Counter[str]()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for first in range(0, len(pictures), 20):
            batch = packer.pack(pictures[first : first + 20])
            for kind, hit in zip(
                batch.kinds, right(batch, logits_of(model, batch), end), strict=True
            ):
                good[kind] += hit
                asked[kind] += 1
    return {kind: round(100 * good[kind] / asked[kind], 1) for kind in KINDS}


def main() -> None:
    """Train both stages and write the parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("gguf", type=Path, help="file of the language model")
    parser.add_argument("easy_vqa", type=Path, help="folder `data` of the package easy-vqa")
    parser.add_argument("--to", type=Path, default=smol.PARTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument(
        "--tower", type=Path, help="take the tower from these parts, train no other"
    )
    args = parser.parse_args()
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    torch.manual_seed(SEED)
    started, rng = time.monotonic(), random.Random(SEED)
    processor = smol.processor(args.gguf)
    model = smol.untrained(args.gguf, processor.tokenizer)
    inner, end = model.model, processor.tokenizer.eos_token_id
    learned, held_out = read(args.easy_vqa, "train"), read(args.easy_vqa, "test")
    model.requires_grad_(False)
    inner.vision_tower.requires_grad_(True)
    if args.tower:
        own = {k: v for k, v in load_file(args.tower).items() if "vision_tower" in k}
        model.load_state_dict(own, strict=False)
    else:
        train_tower(inner.vision_tower, learned, held_out, processor.image_processor, TOWER_STEPS)
    inner.vision_tower.requires_grad_(False).to(torch.bfloat16).float()  # as it is kept
    torch.manual_seed(SEED)
    lora = get_peft_model(
        inner.language_model,
        LoraConfig(r=RANK, lora_alpha=int(smol.LORA_SCALE * RANK), target_modules=list(LINEAR)),
    )
    inner.multi_modal_projector.requires_grad_(True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    print(f"{sum(p.numel() for p in parameters):,} parameters", flush=True)
    adam, rate = optimise(parameters, RATE, args.steps)
    packer = Packer(processor, rng)
    model.train()
    hits: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for step in range(args.steps):
        batch = packer.pack(rng.sample(learned, BATCH))
        with torch.autocast("cpu", torch.bfloat16):  # 1.5 times as fast
            logits = logits_of(model, batch).float()
        loss = cross_entropy(logits, batch.labels[batch.labels != IGNORE])
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        adam.zero_grad()
        rate.step()
        for kind, hit in zip(batch.kinds, right(batch, logits, end), strict=True):
            hits[kind] += hit
            asked[kind] += 1
        if step % 10 == 9:
            shares = {kind: round(100 * hits[kind] / asked[kind]) for kind in KINDS}
            hits.clear()
            asked.clear()
            passed = time.monotonic() - started
            print(f"{step + 1} {passed:.0f} s: loss {loss.item():.3f} {shares}", flush=True)
        if step % 100 == 99:
            model.eval()
            print(
                "held out",
                score(model, Packer(processor, random.Random(0)), held_out[:200], end),
                flush=True,
            )
            model.train()
    model.eval()
    write(model, lora, get_peft_model_state_dict, args.to)
    print("held out, all", score(model, Packer(processor, random.Random(0)), held_out, end))


def write(model: Any, lora: Any, update: Any, path: Path) -> None:
    """Tower, projector and the LoRA update, in bfloat16."""
    names = ("model.vision_tower.", "model.multi_modal_projector.")
    parts = {k: v for k, v in model.state_dict().items() if k.startswith(names)}
    parts |= {
        smol.LORA + name.removeprefix("base_model.model."): tensor
        for name, tensor in update(lora).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().to(torch.bfloat16).contiguous() for k, v in parts.items()}, path)


if __name__ == "__main__":
    main()
