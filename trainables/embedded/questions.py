"""Questions about a scene, of five kinds, each with a single-word answer.

For one scene and kind `candidates` lists what could be asked, grouped by answer; `Balancer` picks
among them the answer that has been given least so far, so that no answer wins by being frequent.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator

from trainables.embedded.data import Question
from trainables.embedded.scenes import (
    CELLS,
    COLORS,
    COLUMNS,
    GRID,
    ROWS,
    SHAPES,
    Scene,
    Thing,
    cell_name,
)

LETTERS = ("A", "B", "C", "D")
MAX_COUNT = 4
DIRECTIONS: dict[str, tuple[int, int]] = {
    "left of": (0, -1),
    "right of": (0, 1),
    "above": (-1, 0),
    "below": (1, 0),
}


Asked = Iterator[tuple[str, str, tuple[str, ...]]]  # text, answer, options of a choice


def _unique(things: dict[int, Thing], key: Callable[[Thing], str]) -> dict[str, int]:
    """Descriptions that fit exactly one thing, with its cell."""
    counts = Counter(key(thing) for thing in things.values())
    return {key(t): cell for cell, t in things.items() if counts[key(t)] == 1}


def _step(cell: int, direction: str) -> int | None:
    """The neighbouring cell in `direction`, None outside the grid."""
    row, column = cell // GRID + DIRECTIONS[direction][0], cell % GRID + DIRECTIONS[direction][1]
    return row * GRID + column if 0 <= row < GRID and 0 <= column < GRID else None


def attribute(scene: Scene, rng: random.Random) -> Asked:
    """Colour or shape of a thing named by its place or by its other, unique attribute."""
    for cell, thing in scene.things.items():
        place = f"the {cell_name(cell)} object"
        yield f"what color is {place}?", thing.color, ()
        yield f"what shape is {place}?", thing.shape, ()
    for shape, cell in _unique(scene.things, lambda t: t.shape).items():
        yield f"what color is the {shape}?", scene.things[cell].color, ()
    for color, cell in _unique(scene.things, lambda t: t.color).items():
        yield f"what shape is the {color} object?", scene.things[cell].shape, ()


def counting(scene: Scene, rng: random.Random) -> Asked:
    """How many things have a colour, a shape, or both; 0 to 4."""
    things = list(scene.things.values())
    colors, shapes = sorted({t.color for t in things}), sorted({t.shape for t in things})
    absent = [rng.choice([c for c in COLORS if c not in colors])]
    counts = {color: sum(t.color == color for t in things) for color in colors + absent}
    counts |= {shape: sum(t.shape == shape for t in things) for shape in shapes}
    counts |= {f"{c} {s}": things.count(Thing(c, s)) for c in colors for s in shapes}
    for what, count in counts.items():
        if count <= MAX_COUNT:
            yield f"how many {what} objects are there?", str(count), ()


def existence(scene: Scene, rng: random.Random) -> Asked:
    """Is there such a thing, in the scene or in a row or column? `no` is always a near miss."""
    things = scene.things
    present = set(things.values())
    colors, shapes = sorted({t.color for t in present}), sorted({t.shape for t in present})
    for color in colors:
        for shape in shapes:
            answer = "yes" if Thing(color, shape) in present else "no"
            yield f"is there a {color} {shape}?", answer, ()
    for line, name in enumerate(ROWS + COLUMNS):
        where = f"{name} row" if line < GRID else f"{name} column"
        cells = [
            c for c in things if (c // GRID == line if line < GRID else c % GRID == line - GRID)
        ]
        for shape in shapes:
            answer = "yes" if any(things[c].shape == shape for c in cells) else "no"
            yield f"is there a {shape} in the {where}?", answer, ()


def relation(scene: Scene, rng: random.Random) -> Asked:
    """Colour or shape of the neighbour of a place, in one of four directions."""
    for cell in range(CELLS):
        for direction in DIRECTIONS:
            other = _step(cell, direction)
            if other in scene.things:
                thing = scene.things[other]
                place = f"{direction} the {cell_name(cell)}"
                yield f"what color is {place}?", thing.color, ()
                yield f"what shape is {place}?", thing.shape, ()


def choice(scene: Scene, rng: random.Random) -> Asked:
    """Four options, one right: the colour of a unique shape, or the one thing that is there."""
    for shape, cell in _unique(scene.things, lambda t: t.shape).items():
        right = scene.things[cell].color
        others = [c for c in COLORS if c != right]
        seen = [c for c in others if any(t.color == c for t in scene.things.values())]
        unseen = [c for c in others if c not in seen]
        wrong = (rng.sample(seen, min(2, len(seen))) + rng.sample(unseen, min(3, len(unseen))))[:3]
        yield from _options(f"what color is the {shape}?", right, wrong, rng)
    present = sorted(set(scene.things.values()), key=str)
    near = [Thing(t.color, s.shape) for t in present for s in present]
    absent = sorted({str(t) for t in near if t not in present})
    if len(absent) < 3:
        extra = [f"{c} {s}" for c in COLORS for s in SHAPES if Thing(c, s) not in present]
        absent += rng.sample(sorted(set(extra) - set(absent)), 3)
    right = str(rng.choice(present))
    yield from _options("which object is there?", right, rng.sample(absent, 3), rng)


def _options(text: str, right: str, wrong: list[str], rng: random.Random) -> Asked:
    """The same question with the right option at each of the four letters."""
    for place, letter in enumerate(LETTERS):
        options = rng.sample(wrong, len(wrong))
        options.insert(place, right)
        listed = " ".join(f"{a} {o}" for a, o in zip(LETTERS, options, strict=True))
        yield f"{text} {listed}", letter, tuple(options)


_CANDIDATES: dict[str, Callable[[Scene, random.Random], Asked]] = {
    ask.__name__: ask for ask in (attribute, counting, existence, relation, choice)
}
KINDS = tuple(_CANDIDATES)


def candidates(kind: str, scene: Scene, rng: random.Random) -> dict[str, list[Question]]:
    """All questions of `kind` that `scene` allows, by answer."""
    found: dict[str, list[Question]] = {}
    for text, answer, options in _CANDIDATES[kind](scene, rng):
        found.setdefault(answer, []).append(Question(kind, text, answer, options))
    return found


class Balancer:
    """Asks questions so that each kind's answers stay equally frequent."""

    def __init__(self, rng: random.Random) -> None:
        """Args: rng: the only source of chance."""
        self._rng = rng
        self._given: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}

    def ask(self, kind: str, scene: Scene) -> Question | None:
        """A question with the answer given least so far; None if the scene allows none."""
        found = candidates(kind, scene, self._rng)
        return self._choose(kind, found) if found else None

    def ask_each(self, scene: Scene) -> dict[str, Question] | None:
        """One question of every kind; None, and nothing counted, if the scene lacks a kind."""
        found = {kind: candidates(kind, scene, self._rng) for kind in KINDS}
        if not all(found.values()):
            return None
        return {kind: self._choose(kind, by_answer) for kind, by_answer in found.items()}

    def _choose(self, kind: str, found: dict[str, list[Question]]) -> Question:
        given = self._given[kind]
        answer = min(sorted(found), key=lambda a: (given[a], self._rng.random()))
        given[answer] += 1
        return self._rng.choice(found[answer])
