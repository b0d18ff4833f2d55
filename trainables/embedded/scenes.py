"""Scenes: up to nine coloured shapes on a 3 x 3 grid, and how one is drawn.

A scene is a value. Its canonical text names what stands in which cell and leaves out how it is
drawn (jitter, shade, noise), so two images of the same arrangement are the same scene. The split of
a scene follows from that text alone: whoever generates scenes, now or later, a scene that was
trained on can never be asked about in an evaluation.
"""

import hashlib
import random
from dataclasses import dataclass
from functools import cached_property

from PIL import Image, ImageDraw

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 215, 50),
    "purple": (150, 50, 180),
    "orange": (240, 135, 30),
}
SHAPES = ("circle", "square", "triangle", "cross")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
GRID = 3
CELLS = GRID * GRID
PATCH_PIXELS = 12
IMAGE_PIXELS = GRID * PATCH_PIXELS
BACKGROUND = (236, 236, 232)
_OVERSAMPLING = 3


@dataclass(frozen=True)
class Thing:
    """One coloured shape."""

    color: str
    shape: str

    def __str__(self) -> str:
        """`red circle`."""
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """What stands in the nine cells, row by row; None is an empty cell."""

    cells: tuple[Thing | None, ...]

    @cached_property
    def canonical(self) -> str:
        """The text that identifies the scene, e.g. `red circle|-|blue cross|...`."""
        return "|".join(str(thing) if thing else "-" for thing in self.cells)

    @cached_property
    def things(self) -> dict[int, Thing]:
        """Occupied cells, by index 0..8."""
        return {cell: thing for cell, thing in enumerate(self.cells) if thing}

    @property
    def split(self) -> str:
        """`train` (13 of 16 scenes), `search` (1) or `report` (2), by a hash of the text."""
        bucket = hashlib.sha256(self.canonical.encode()).digest()[0] % 16
        return "search" if bucket == 0 else "report" if bucket <= 2 else "train"


def cell_name(cell: int) -> str:
    """Words for a cell, e.g. `top left`."""
    return f"{ROWS[cell // GRID]} {COLUMNS[cell % GRID]}"


def sample_scene(rng: random.Random) -> Scene:
    """A scene of three to seven things from a palette of few colours and shapes.

    The small palette makes things repeat, so that counts above one, near misses ("a red circle and
    a blue square, but no blue circle") and ambiguous references are common.
    """
    colors = rng.sample(list(COLORS), rng.randint(2, 4))
    shapes = rng.sample(SHAPES, rng.randint(2, 4))
    color_weights = [rng.uniform(0.3, 1.0) ** 2 for _ in colors]
    shape_weights = [rng.uniform(0.3, 1.0) ** 2 for _ in shapes]
    cells: list[Thing | None] = [None] * CELLS
    places = rng.sample(range(CELLS), rng.randint(3, 7))
    drawn = zip(
        places,
        rng.choices(colors, color_weights, k=len(places)),
        rng.choices(shapes, shape_weights, k=len(places)),
        strict=True,
    )
    for cell, color, shape in drawn:
        cells[cell] = Thing(color, shape)
    return Scene(tuple(cells))


def draw(scene: Scene, rng: random.Random) -> Image.Image:
    """The scene as an RGB image of 36 x 36 pixels; place, size, shade and background vary."""
    unit = PATCH_PIXELS * _OVERSAMPLING
    shade = rng.randint(-14, 14)
    canvas = Image.new("RGB", (GRID * unit,) * 2, _shift(BACKGROUND, shade, shade, shade))
    pen = ImageDraw.Draw(canvas)
    for cell, thing in scene.things.items():
        radius = rng.uniform(0.33, 0.43) * unit
        slack = unit / 2 - radius
        x = (cell % GRID + 0.5) * unit + rng.uniform(-slack, slack)
        y = (cell // GRID + 0.5) * unit + rng.uniform(-slack, slack)
        fill = _shift(COLORS[thing.color], *(rng.randint(-18, 18) for _ in range(3)))
        _draw_shape(pen, thing.shape, x, y, radius, fill)
    return canvas.reduce(_OVERSAMPLING)


def _shift(color: tuple[int, int, int], *delta: int) -> tuple[int, int, int]:
    red, green, blue = (max(0, min(255, value + d)) for value, d in zip(color, delta, strict=True))
    return red, green, blue


def _draw_shape(
    pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, r: float, fill: tuple[int, int, int]
) -> None:
    """Draw `shape` around (x, y) with half-width `r`."""
    if shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif shape == "square":
        s = 0.86 * r
        pen.rectangle((x - s, y - s, x + s, y + s), fill=fill)
    elif shape == "triangle":
        pen.polygon(((x, y - r), (x - r, y + r), (x + r, y + r)), fill=fill)
    else:
        arm = 0.36 * r
        pen.rectangle((x - arm, y - r, x + arm, y + r), fill=fill)
        pen.rectangle((x - r, y - arm, x + r, y + arm), fill=fill)
