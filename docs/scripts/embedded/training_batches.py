"""Training batches that ask many questions about one image in one sequence.

A sequence is `USER: <image>` followed by segments, one per question. A segment sees the image and
itself, at the positions it would have alone, so the answers are those of separate sequences at half
the tokens.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from docs.scripts.embedded import build
from trainables.embedded.questions import Balancer
from trainables.embedded.scenes import CELLS, Scene, draw, sample_scene
from trainables.models.collation import IGNORE

# What is learned first is asked less.
QUESTIONS_PER_SCENE = {"attribute": 1, "counting": 3, "existence": 2, "relation": 2, "choice": 2}


@dataclass(frozen=True)
class Packed:
    """B images with Q questions in all, padded to T tokens.

    Attributes:
        pixel_values: [B, 3, H, W].
        input_ids: [B, T].
        segments: [B, T]; 0 is the image's part, which all segments see.
        positions: [B, T]; position ids.
        labels: [B, T]; the token to predict at each place, or -100.
        answers: [B, T]; True where a question's one-word answer is predicted, Q in all.
        kinds: the Q kinds, in the order of `answers`.
    """

    pixel_values: Tensor
    input_ids: Tensor
    segments: Tensor
    positions: Tensor
    labels: Tensor
    answers: Tensor
    kinds: list[str]

    def visible(self) -> Tensor:
        """Attention mask [B, 1, T, T]: whether a place (third axis) sees another (last axis)."""
        order = torch.arange(self.segments.shape[1])
        same = self.segments[:, :, None] == self.segments[:, None, :]
        seen = (same | (self.segments[:, None, :] == 0)) & (order[:, None] >= order[None, :])
        return seen[:, None]


class Packer:
    """An endless, seeded stream of batches from scenes of one split."""

    def __init__(
        self,
        seed: int,
        split: str,
        asked: Mapping[str, int] = QUESTIONS_PER_SCENE,
        describe: bool = True,
    ) -> None:
        """Set up the stream.

        Args:
            seed: of the scenes, the drawing and the questions.
            split: whose scenes.
            asked: questions of each kind per scene.
            describe: whether to ask for the description of the scene as well; may be changed.
        """
        self._rng = random.Random(seed)
        self._scenes = scenes(split, self._rng)
        self._balancer = Balancer(self._rng)
        self._vocabulary = build.vocabulary()
        self._pixels = build.processor().image_processor
        self._asked = [kind for kind, count in asked.items() for _ in range(count)]
        self.describe = describe

    def encode(self, text: str) -> list[int]:
        """The tokenizer's ids of `text`, without its overhead (a test compares the two)."""
        return [self._vocabulary[word] for word in text.replace("?", " ?").split()]

    def batch(self, size: int) -> Packed:
        """The next `size` scenes."""
        taken = [next(self._scenes) for _ in range(size)]
        images = [draw(scene, self._rng) for scene in taken]
        kinds: list[str] = []
        rows = [self._row(scene, kinds) for scene in taken]
        width = max(map(len, rows))
        padding = (build.PAD_ID, len(self._asked) + 2, 0, IGNORE, 0)
        table = torch.tensor([row + [padding] * (width - len(row)) for row in rows])
        return Packed(
            pixel_values=self._pixels(images, return_tensors="pt")["pixel_values"],
            input_ids=table[..., 0],
            segments=table[..., 1],
            positions=table[..., 2],
            labels=table[..., 3],
            answers=table[..., 4].bool(),
            kinds=kinds,
        )

    def _row(self, scene: Scene, kinds: list[str]) -> list[tuple[int, int, int, int, int]]:
        """(token, segment, position, label, is answer) of every place; `kinds` is added to."""
        head = [*self.encode("USER:"), *[build.IMAGE_ID] * CELLS]
        row = [(token, 0, p, IGNORE, 0) for p, token in enumerate(head)]
        asked: list[tuple[str, str]] = []
        for kind in self._asked:
            question = self._balancer.ask(kind, scene)
            if question is not None:
                asked.append((question.text, question.answer))
                kinds.append(kind)
        questions = len(asked)
        if self.describe:
            asked.append((build.DESCRIBE, description(scene)))
        for number, (text, answer) in enumerate(asked):
            prompt = self.encode(f"{text} ASSISTANT:")
            reply = [*self.encode(answer), build.EOS_ID]
            tokens = prompt + reply[:-1]
            labels = [IGNORE] * (len(prompt) - 1) + reply
            for p, (token, label) in enumerate(zip(tokens, labels, strict=True)):
                is_answer = number < questions and p == len(prompt) - 1
                row.append((token, number + 1, len(head) + p, label, int(is_answer)))
        return row


def description(scene: Scene) -> str:
    """What stands in each cell, row by row: the answer to `build.DESCRIBE`."""
    return " ".join(str(thing) if thing else build.NOTHING for thing in scene.cells)


def scenes(split: str, rng: random.Random) -> Iterator[Scene]:
    """Endless scenes of one split."""
    while True:
        scene = sample_scene(rng)
        if scene.split == split:
            yield scene


def patch_labels(taken: list[Scene], names: list[str], attribute: str) -> Tensor:
    """Index into `names` plus 1 of every cell's colour or shape, 0 for an empty cell."""
    cells: list[Any] = [cell for scene in taken for cell in scene.cells]
    return torch.tensor([names.index(getattr(c, attribute)) + 1 if c else 0 for c in cells])
