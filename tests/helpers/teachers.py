"""Training samples of a random LLaVA that counts what it is shown, and caches of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.models.collation import IGNORE, Batch
from trainables.recovery.loss.coverage import hidden_positions, logits_positions
from trainables.recovery.loss.layer_maps import TeacherNeeds
from trainables.recovery.loss.targets import Targets
from trainables.recovery.teacher.cache import Source, sample_key
from trainables.recovery.teacher.cached import CachedTeacher, cached_teacher
from trainables.specs import TeacherSpec

LAYERS, WIDTH, IMAGE, IMAGE_TOKENS = 4, 32, 63, 4
SAMPLES = 12
CONTENT = {"weights": "abc", "images": "8 pixels"}
CPU = torch.device("cpu")


class Data:
    """Samples of different length, some without an image; counts what the teacher is shown."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        self.shown: list[list[int]] = []
        generator = torch.Generator().manual_seed(7)
        self.samples: list[tuple[list[int], list[int]]] = []
        for number in range(SAMPLES):
            length = 8 + (5 * number) % 13
            ids = torch.randint(3, 60, (length,), generator=generator).tolist()
            start = 3
            if number % 3:
                ids[1 : 1 + IMAGE_TOKENS] = [IMAGE] * IMAGE_TOKENS
                start = 1 + IMAGE_TOKENS + number % 2  # some answers follow right on the image
            self.samples.append((ids, [IGNORE] * start + ids[start:]))
        self.pixels = torch.randn(SAMPLES, 3, 8, 8, generator=generator)

    def collate(self, indices: Sequence[int], side: str = "right") -> Batch:
        longest = max(len(self.samples[i][0]) for i in indices)

        def padded(rows: list[list[int]], value: int) -> Tensor:
            fill = [[value] * (longest - len(row)) for row in rows]
            pairs = zip(rows, fill, strict=True)
            return torch.tensor([[*f, *r] if side == "left" else [*r, *f] for r, f in pairs])

        ids = [self.samples[i][0] for i in indices]
        batch = {
            "input_ids": padded(ids, 0),
            "labels": padded([self.samples[i][1] for i in indices], IGNORE),
            "attention_mask": padded([[1] * len(row) for row in ids], 0),
        }
        shown = [i for i in indices if IMAGE in self.samples[i][0]]
        if shown:
            batch["pixel_values"] = self.pixels[shown].to(self.dtype)
        return batch

    def states(self, batch: Batch, which: tuple[int, ...]) -> list[Tensor]:
        self.shown.append(batch["attention_mask"].sum(1).tolist())
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        with torch.no_grad():
            output = self.model.model(**inputs, output_hidden_states=True, use_cache=False)
        states = [*output.hidden_states[:LAYERS], output.last_hidden_state]
        return [states[number] for number in which]

    def source(self) -> Source:
        return Source(
            key=lambda i: sample_key(*self.samples[i], (f"image-{i}",)),
            tokens=lambda i: self.samples[i],
            collate=self.collate,
            states=self.states,
            head=self.model.lm_head,
            layers=LAYERS,
            hidden_size=WIDTH,
            image_token_id=IMAGE,
        )

    def online(self, needs: TeacherNeeds, indices: Sequence[int], side: str) -> Targets:
        batch = self.collate(indices, side)
        states = self.states(batch, (*needs.states, LAYERS))
        hidden = hidden_positions(batch, needs.hidden_tokens, IMAGE)
        logits = logits_positions(batch, needs.logits_tokens, IMAGE)
        return Targets(
            tuple(state[hidden] for state in states[:-1]),
            states[-1][logits] if needs.logits else None,
        )


def cached(
    data: Data,
    root: Path,
    needs: TeacherNeeds,
    spec: TeacherSpec | None = None,
    blocks: Sequence[Sequence[int]] = (range(SAMPLES),),
    **options: Any,
) -> CachedTeacher:
    compute = str(data.dtype).removeprefix("torch.")
    given = {"compute": compute, "device": CPU} | options
    spec = spec or TeacherSpec()
    return cached_teacher(root, CONTENT, needs, spec, blocks, data.source(), **given)


def close(cached: Targets, online: Targets, tolerance: float) -> None:
    pairs = list(zip(cached.hidden, online.hidden, strict=True))
    assert (cached.final is None) == (online.final is None)
    if cached.final is not None and online.final is not None:
        pairs.append((cached.final, online.final))
    for mine, theirs in pairs:
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        error = (mine.float() - theirs.float()).norm() / theirs.float().norm()
        assert float(error) <= tolerance
