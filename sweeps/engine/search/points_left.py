"""What is left to try in a cell: its space as a tree of choices, counted exactly.

A space is define-by-run, so the tree is found by running it on scripted answers up to its next
question. A branch ends at a spec, which is one point, or at a continuous factor, below which there
is always something new. Branches are run only as far as an answer needs them, and once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.factors import Cell
from search_spaces.spaces import Space
from trainables.specs import TrialSpec


@dataclass(frozen=True)
class _Question:
    """A discrete factor that the space asks for after the scripted answers."""

    name: str
    choices: Sequence[Any]


class _Asked(Exception):  # noqa: N818 - a jump out of the space, no error
    """The space has come to its next question; None is a continuous one."""

    def __init__(self, question: _Question | None) -> None:
        self.question = question


class _Script:
    """A suggester that gives the answers and jumps out at the first question without one."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._answer(name, choices)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return int(self._answer(name, range(low, high + 1)))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        if low < high:
            raise _Asked(None)
        return low

    def _answer(self, name: str, choices: Sequence[Any]) -> Any:
        if name not in self._answers:
            raise _Asked(_Question(name, choices))
        return self._answers[name]


class PointsLeft:
    """The points of one cell that are not known yet.

    Args:
        space: the search space.
        cell: the stratified factors.
        base: the base of every trial.
        key_of: the key of the trial that a spec resolves to.
        known: keys of known trials; it may grow, and what was used up stays so.
    """

    def __init__(
        self,
        space: Space,
        cell: Cell,
        base: TrialSpec,
        key_of: Callable[[TrialSpec], str],
        known: Collection[str],
    ) -> None:
        self.cell = cell
        self._space, self._base, self._key_of, self._known = space, base, key_of, known
        self._nodes: dict[tuple[Any, ...], _Question | str | None] = {}
        self._used_up: set[tuple[Any, ...]] = set()

    def used_up(self, answers: Mapping[str, Any] | None = None) -> bool:
        """Whether every point with these answers is known; never below a continuous factor."""
        answers = answers or {}
        branch = tuple(answers.items())
        if branch in self._used_up:
            return True
        node = self._node(answers)
        if isinstance(node, _Question):
            found = all(self.used_up({**answers, node.name: choice}) for choice in node.choices)
        else:
            found = node is not None and node in self._known
        if found:
            self._used_up.add(branch)
        return found

    @functools.cached_property
    def points(self) -> frozenset[str]:
        """Keys of the points of a cell without continuous factors."""
        found: set[str] = set()
        branches: list[dict[str, Any]] = [{}]
        while branches:
            answers = branches.pop()
            node = self._node(answers)
            if isinstance(node, _Question):
                branches += [{**answers, node.name: choice} for choice in node.choices]
            elif node is not None:
                found.add(node)
        return frozenset(found)

    def closed(self) -> dict[str, set[Any]]:
        """Choices of the cell's first open question that lead to known points only."""
        answers: dict[str, Any] = {}
        while isinstance(node := self._node(answers), _Question) and len(node.choices) == 1:
            answers[node.name] = node.choices[0]
        if not isinstance(node, _Question) or isinstance(node.choices, range):
            return {}
        used = {c for c in node.choices if self.used_up({**answers, node.name: c})}
        return {node.name: used} if used else {}

    def dead_end(self, params: Mapping[str, Any]) -> tuple[str, Any] | None:
        """The choice of a point from which on all is known; None where it cannot be left out."""
        answers: dict[str, Any] = {}
        while isinstance(node := self._node(answers), _Question):
            answers[node.name] = params[node.name]
            if self.used_up(answers):
                return None if isinstance(node.choices, range) else (node.name, params[node.name])
        return None

    def way(self, rng: np.random.Generator) -> dict[str, Any]:
        """Random answers, each choice that leads to something new with the same chance."""
        answers: dict[str, Any] = {}
        while isinstance(node := self._node(answers), _Question):
            name = node.name
            open_ = [c for c in node.choices if not self.used_up({**answers, name: c})]
            answers[name] = open_[rng.integers(len(open_))]
        return answers

    def _node(self, answers: Mapping[str, Any]) -> _Question | str | None:
        """What comes after these answers: a question, a point's key, or None: continuous."""
        branch = tuple(answers.items())
        if branch not in self._nodes:
            try:
                spec = self._space.build(_Script(answers), self.cell, self._base)
            except _Asked as asked:
                self._nodes[branch] = asked.question
            else:
                self._nodes[branch] = self._key_of(spec)
        return self._nodes[branch]
