"""easy-VQA's pictures and what can be asked about one, of five kinds.

`color`, `shape` and `existence` are easy-VQA's own questions; `position` and `either` are asked
here about the same pictures. A picture shows one thing in one of eight plain colours. Its own
questions name its shape, unless none of them asks for it; its colour and place are read from its
pixels.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

COLORS: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (165, 42, 42),
    "gray": (128, 128, 128),
    "green": (0, 255, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "yellow": (255, 255, 0),
}
SHAPES = ("circle", "rectangle", "triangle")
KINDS = ("color", "shape", "existence", "position", "either")
OWN_ANSWERS = {"color": tuple(COLORS), "shape": SHAPES, "existence": ("yes", "no")}
PIXELS = 64
MARGIN = 4  # pixels between a thing's centre and a middle line, for its place to be asked
POSITION = "in which corner is the shape?"
NEGATIONS = (" no ", " not ")
Asked = dict[tuple[str, bool], list[str]]  # questions by answer and whether they are negated


@dataclass(frozen=True)
class Picture:
    """One picture of easy-VQA.

    Attributes:
        name: `train-12`; unique over both splits.
        path: the PNG of 64 x 64 pixels.
        own: easy-VQA's questions about it, with their answers.
    """

    name: str
    path: Path
    own: tuple[tuple[str, str], ...]

    def asked(self, kind: str, rng: random.Random) -> Asked:
        """Everything of a kind that can be asked about it.

        Most of easy-VQA's negated questions are answered yes and most others no, so whoever asks
        has to balance the answers of each.
        """
        found: Asked = defaultdict(list)
        for question, answer in self._questions(kind, rng):
            found[answer, any(word in question for word in NEGATIONS)].append(question)
        return found

    @cached_property
    def shape(self) -> str | None:
        """`circle`, `rectangle` or `triangle`; None where no question asks for it."""
        return next((answer for _, answer in self.own if answer in SHAPES), None)

    @cached_property
    def color(self) -> str:
        """One of `COLORS`."""
        return self._seen[0]

    @cached_property
    def center(self) -> tuple[float, float]:
        """(x, y) of the middle of the thing's box, in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the thing; the last two are one pixel beyond it."""
        return self._seen[1]

    @cached_property
    def background(self) -> tuple[int, int, int]:
        """The plain colour around the thing."""
        counts = Image.open(self.path).convert("RGB").getcolors(PIXELS**2) or []
        plain: list[Any] = [each for each in counts if each[1] not in COLORS.values()]
        red, green, blue = max(plain)[1]
        return red, green, blue

    @cached_property
    def _seen(self) -> tuple[str, tuple[int, int, int, int]]:
        image = Image.open(self.path).convert("RGB")
        counts = {pixel: count for count, pixel in image.getcolors(PIXELS**2) or ()}
        name = max(COLORS, key=lambda color: counts.get(COLORS[color], 0))
        same: Any = [255 * (pixel == COLORS[name]) for pixel in image.get_flattened_data()]
        mask = Image.new("L", image.size)
        mask.putdata(same)
        box = mask.getbbox()
        assert box, f"{self.path} shows none of the colours"
        return name, box

    def _questions(self, kind: str, rng: random.Random) -> Iterator[tuple[str, str]]:
        match kind:
            case "position":
                x, y = (place - PIXELS / 2 for place in self.center)
                if min(abs(x), abs(y)) >= MARGIN:
                    corner = f"{'top' if y < 0 else 'bottom'} {'left' if x < 0 else 'right'}"
                    yield POSITION, corner
            case "either":
                yield from self._either(rng)
            case _:
                yield from (own for own in self.own if own[1] in OWN_ANSWERS[kind])

    def _either(self, rng: random.Random) -> Iterator[tuple[str, str]]:
        """Its colour or another one, its shape or another one, in either order."""
        known = [("is the shape {} or {}?", self.color, tuple(COLORS))]
        known += [("is it a {} or a {}?", self.shape, SHAPES)] if self.shape else []
        for text, right, all_ in known:
            pair = [right, rng.choice([other for other in all_ if other != right])]
            yield text.format(*rng.sample(pair, 2)), right


def read(folder: Path, split: str) -> list[Picture]:
    """The pictures of easy-VQA's `train` or `test`, by number.

    Args:
        folder: the package's `data`.
        split: one of its folders.
    """
    own: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for question, answer, number in json.loads((folder / split / "questions.json").read_text()):
        own[number].append((question, answer))
    return [
        Picture(f"{split}-{n}", folder / split / "images" / f"{n}.png", tuple(own[n]))
        for n in sorted(own)
    ]
