"""Models, weights, conversations and caches of the benchmark `recovery.py` beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llava_7b import random_llava
from torch import nn
from transformers import LlavaConfig, LlavaForConditionalGeneration

from trainables.models.collation import IGNORE, Batch, Side, move, pad
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.families.registry import TINY_FOLDER
from trainables.pruning.planning.planner import PrunePlan, plan_pruning
from trainables.pruning.scoring.importance import score_importance
from trainables.pruning.surgery import apply_plan
from trainables.recovery.loss.layer_maps import TeacherNeeds
from trainables.recovery.loss.objective import hidden_states
from trainables.recovery.loss.targets import Teacher
from trainables.recovery.teacher.cache import Source, sample_key
from trainables.recovery.teacher.cached import cached_teacher
from trainables.recovery.train.trained_parameters import prepare_student
from trainables.specs import ImportanceSpec, PruningSpec, RecoverySpec, TeacherSpec

RATIO = 0.30
RATE = 2e-4
TINY_TEXT = {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 6,
             "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 512}  # fmt: skip
TINY_VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
               "num_attention_heads": 2, "image_size": 56}  # fmt: skip
IMAGE_TOKENS, CONTEXT = 576, 2048  # of LLaVA-1.5
TINY_SCALE = 36  # 16 image tokens


@dataclass(frozen=True)
class Part:
    """One kind of conversation.

    `median` text tokens, log-normal with `sigma`; `turns`; which share of the text are `answers`.
    """

    name: str
    thousands: int
    median: int
    sigma: float
    turns: int
    answers: float
    image: bool = True


# Parts of llava_v1_5_mix665k and their sizes in thousands of samples (arXiv 2310.03744, table 7):
# these are published. Lengths, turns and answers' shares are not; they are set by what the parts
# look like: ShareGPT's chats have no image and often reach the context; the questions with short
# answers (VQAv2, GQA, OKVQA, A-OKVQA, OCR-VQA) and the regions (RefCOCO, Visual Genome) are put
# together by image into conversations of several turns.
MIX = (
    Part("ShareGPT", 40, 1000, 0.7, turns=4, answers=0.75, image=False),
    Part("LLaVA", 158, 250, 0.5, turns=3, answers=0.65),
    Part("short answers", 310, 150, 0.6, turns=5, answers=0.15),
    Part("regions", 134, 300, 0.5, turns=8, answers=0.4),
    Part("TextCaps", 22, 70, 0.3, turns=1, answers=0.4),
)
FIXED = (Part("fixed", 1, 174, 0.0, turns=1, answers=64 / 174),)


class Conversations:
    """Synthetic conversations: random token ids and pixels, lengths drawn by part.

    Stands for the encoder: it has those of its methods that the engine calls.

    Args:
        parts: what to draw from, each by its share.
        count: samples.
        scale: lengths are LLaVA's divided by it.
        config: of the model.
    """

    def __init__(self, parts: Sequence[Part], count: int, scale: int, config: LlavaConfig) -> None:
        self.token = int(config.image_token_index)
        self.adapter = LLAVA_LLAMA
        self.side: Side = "right"  # of the padding; on the left attention needs its mask
        vision = config.vision_config
        # A few images that the samples share; each still counts as its own.
        shape = (16, 3, vision.image_size, vision.image_size)
        self._pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        # Where an image has fewer tokens than LLaVA's divided by the scale, text stands for them.
        own = (vision.image_size // vision.patch_size) ** 2
        stand = max(0, IMAGE_TOKENS // scale - own)
        random = np.random.default_rng(0)
        shares = np.array([part.thousands for part in parts], dtype=float)
        chosen = random.choice(len(parts), count, p=shares / shares.sum())
        self.samples: list[tuple[list[int], list[int], bool]] = []
        for part in (parts[i] for i in chosen):
            image = (own, stand) if part.image else (0, 0)
            longest = CONTEXT // scale - sum(image)
            length = round(part.median * float(np.exp(part.sigma * random.normal())) / scale)
            length = min(max(length, 2 * part.turns), longest)
            ids = random.integers(5, config.text_config.vocab_size - 8, sum(image) + length)
            ids[ids == self.token] += 1
            ids[1 : 1 + image[0]] = self.token
            labels = np.full(len(ids), IGNORE)
            for turn in np.array_split(np.arange(sum(image), len(ids)), part.turns):
                answer = turn[len(turn) - max(1, round(part.answers * len(turn))) :]
                labels[answer] = ids[answer]
            self.samples.append((ids.tolist(), labels.tolist(), part.image))

    def length(self, index: int) -> int:
        return len(self.samples[index][0])

    def tokens(self, index: int) -> tuple[list[int], list[int]]:
        ids, labels, _ = self.samples[index]
        return ids, labels

    def answers(self, index: int) -> int:
        return sum(label != IGNORE for label in self.samples[index][1])

    def images(self, index: int) -> int:
        return int(self.samples[index][2])

    def image_digests(self, index: int) -> tuple[str, ...]:
        return (f"{index:06d}",) if self.samples[index][2] else ()

    def batch(self, indices: Sequence[int]) -> Batch:
        ids, labels = zip(*(self.tokens(i) for i in indices), strict=True)
        batch = {
            "input_ids": pad(ids, 0, self.side),
            "labels": pad(labels, IGNORE, self.side),
            "attention_mask": pad([[1] * len(row) for row in ids], 0, self.side),
        }
        shown = [index % 16 for index in indices if self.images(index)]
        if shown:
            batch["pixel_values"] = self._pixels[shown]
        return batch


@dataclass(frozen=True, eq=False)
class Models:
    """The dense model and its 30 % layerwise student; `scale` is that of the conversations."""

    dense: LlavaForConditionalGeneration
    student: LlavaForConditionalGeneration
    plan: PrunePlan
    scale: int


def embedded_models() -> Models:
    """The embedded model with its weights, float32; its context is LLaVA's divided by 8."""
    dense = LlavaForConditionalGeneration.from_pretrained(TINY_FOLDER, dtype=torch.float32)
    return _pruned(dense, 8)


def random_models(device: str, tiny: bool) -> Models:
    """LLaVA-v1.5-7B's shape with random weights in bfloat16; with `tiny` a very small one."""
    dense = random_llava(device, TINY_TEXT, TINY_VISION) if tiny else random_llava(device)
    return _pruned(dense, TINY_SCALE if tiny else 1)


def _pruned(dense: LlavaForConditionalGeneration, scale: int) -> Models:
    dense.requires_grad_(False).eval()
    samples = Conversations(FIXED, 8, scale, dense.config)
    parts = (samples.batch(range(at, at + 4)) for at in (0, 4))
    batches = [move(part, dense.device, dense.dtype) for part in parts]
    importance = ImportanceSpec(samples=8, batch_size=4)
    spec = PruningSpec(method="layerwise", ratio=RATIO, importance=importance)
    shape = LLAVA_LLAMA.language_shape(dense.config.to_dict())
    plan = plan_pruning(score_importance(dense, LLAVA_LLAMA, batches, spec), shape, spec, "dense")
    return Models(dense, apply_plan(dense, LLAVA_LLAMA, plan), plan, scale)


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


def kept_teacher(root: Path, models: Models, data: Conversations, needs: TeacherNeeds) -> Teacher:
    """The teacher's answers to all conversations, in sample stores below `root`."""
    dense = models.dense
    shape = LLAVA_LLAMA.language_shape(dense.config.to_dict())
    source = Source(
        key=lambda i: sample_key(*data.tokens(i), data.image_digests(i)),
        tokens=data.tokens,
        collate=lambda indices: move(data.batch(indices), dense.device, dense.dtype),
        states=lambda batch, wanted: hidden_states(dense, batch, wanted[:-1], LLAVA_LLAMA),
        head=dense.lm_head,
        layers=shape.num_hidden_layers,
        hidden_size=shape.hidden_size,
        image_token_id=data.token,
    )
    return cached_teacher(
        root,
        {"weights": "random"},
        needs,
        TeacherSpec(mode="cached", max_cache_gib=40),
        [range(len(data.samples))],
        source,
        compute="float32" if dense.dtype == torch.float32 else "bfloat16",
        device=dense.device,
    )
