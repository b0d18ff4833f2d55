"""What a sweep is asked: every claim's comparisons at the sweep's sizes, and their trials."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from analysis.findings.claims import Ask, Claim, Side
from analysis.findings.students import Student
from analysis.published.overlay import NOMINAL
from trainables.specs import Frozen, Method, Scope

METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class Design:
    """What sweeps were to try.

    Attributes:
        methods: of pruning, one at least.
        sizes: fraction of the language model by what was asked for, in short.
    """

    methods: tuple[Method, ...]
    sizes: Mapping[str, float]

    def within(self, least: float, most: float) -> dict[str, float]:
        """The sizes in an interval; where there are none, the study's."""
        some = {size: r for size, r in self.sizes.items() if least < r <= most}
        return some or {f"{r:.2f}": r for r in NOMINAL if least < r <= most}


class Wanted(Frozen):
    """A trial that would help to decide.

    Attributes:
        method: of pruning.
        size: what to ask for, in short; `ratio` is the fraction of the language model.
        terms: loss terms; empty without recovery.
        data_fraction: None leaves the sweep's own.
        like: `sweep/trial` that it is to be compared with, whose other settings it must have, save
            for those of its scope where `other_scope`; None where there is none yet.
    """

    method: Method
    size: str
    ratio: float
    scope: Scope
    terms: str = ""
    data_fraction: float | None = None
    like: str | None = None
    other_scope: bool = False

    @property
    def label(self) -> str:
        """A readable name."""
        data = "" if self.data_fraction is None else f" {100 * self.data_fraction:g}% data"
        recovery = f"{self.scope} {self.terms}{data}" if self.terms else "no recovery"
        return f"{self.method} {self.size} {recovery}"


@dataclass(frozen=True)
class Pair:
    """Students of one place: both sides with the same seeds, pair by pair.

    Attributes:
        place: the size.
        first, second: [S] students; `second` is empty where a side is judged by itself.
        wanted: what is missing; then there are no students.
    """

    place: str
    first: tuple[Student, ...] = ()
    second: tuple[Student, ...] = ()
    wanted: tuple[Wanted, ...] = ()


@dataclass(frozen=True)
class Question:
    """One comparison: its name, and the places of its mean, all of them tried or all missing."""

    claim: Claim
    label: str
    pairs: tuple[Pair, ...]


def questions(claims: Sequence[Claim], design: Design, found: Sequence[Student]) -> list[Question]:
    """All that a design is asked, in the order of the claims, tried or not.

    What is asked size by size is asked at the same sizes: the design's, and those of the study's
    that some claim is about and the design has none of.
    """
    asks = [(claim, ask) for claim in claims for ask in claim.asks]
    sizes = {s: r for _, ask in asks for s, r in design.within(*ask.within).items()}
    wide = replace(design, sizes={**design.sizes, **sizes})
    return [
        question
        for claim, ask in asks
        for question in _of(claim, ask, design if ask.mean else wide, found)
    ]


def _of(claim: Claim, ask: Ask, design: Design, found: Sequence[Student]) -> list[Question]:
    """A mean is over what was tried; before that its places are those that lack the least."""
    sizes = sorted(design.within(*ask.within).items(), key=lambda size: size[1])
    methods = sorted(design.methods, key=METHODS.index)
    by_method = [[_pair(ask, m, size, r, found) for size, r in sizes] for m in methods]
    pairs = max(by_method, key=_progress)  # the first of several: layerwise is the study's case
    method = methods[by_method.index(pairs)]
    if ask.mean:
        fewest = min(len(pair.wanted) for pair in pairs)  # 0 if anything was tried
        pairs = [pair for pair in pairs if len(pair.wanted) == fewest]
        return [Question(claim, _label(ask, method), tuple(pairs))]
    return [Question(claim, _label(ask, method), (pair,)) for pair in pairs]


def _progress(pairs: Sequence[Pair]) -> tuple[int, int]:
    """How many places were tried, and how little is missing at the others."""
    return sum(not pair.wanted for pair in pairs), -sum(len(pair.wanted) for pair in pairs)


def _pair(ask: Ask, method: Method, size: str, ratio: float, found: Sequence[Student]) -> Pair:
    sides = [replace(s, method=s.method or method) for s in (ask.first, ask.second) if s]
    here = [_matching(side, size, found) for side in sides]
    if ask.second is None and here[0]:
        return Pair(size, _repeats(here[0][0], here[0]))
    for left, right in itertools.product(*here) if ask.second else ():
        same_loss = ask.varies == "loss" or left.terms == right.terms
        if same_loss and left.alike(right, ask.varies):
            ours, theirs = (
                {s.seeds: s for s in _repeats(one, some)}
                for one, some in zip((left, right), here, strict=True)
            )
            seeds = [seed for seed in ours if seed in theirs]
            closed = [
                s for s in seeds if "report" in ours[s].scores and "report" in theirs[s].scores
            ]
            # Repeats to confirm are scored on the report split; what they repeat may not be.
            if seeds := closed if len(closed) > 1 else seeds:
                return Pair(size, tuple(ours[s] for s in seeds), tuple(theirs[s] for s in seeds))
    wanted = _wanted(ask, sides, here, size, ratio, found)
    assert wanted, "two sides that are alike and have common seeds are a pair"
    return Pair(size, wanted=wanted)


def _matching(side: Side, size: str, found: Sequence[Student]) -> list[Student]:
    """Students of a side, in the order of its terms, then as they were found."""
    some = [
        s
        for s in found
        if (s.method, s.size, s.scope) == (side.method, size, side.scope)
        and s.terms in _terms(side)
        and side.data_fraction in (None, s.data_fraction)
    ]
    return sorted(some, key=lambda s: _terms(side).index(s.terms))


def _terms(side: Side) -> tuple[str, ...]:
    return side.terms or ("",)


def _repeats(one: Student, some: Sequence[Student]) -> tuple[Student, ...]:
    """The students of one configuration, one for each set of seeds."""
    return tuple({s.seeds: s for s in reversed(some) if s.alike(one)}.values())[::-1]


def _wanted(
    ask: Ask, sides: Sequence[Side], here: Sequence[Sequence[Student]], size: str, ratio: float,
    found: Sequence[Student],
) -> tuple[Wanted, ...]:  # fmt: skip
    """What is missing: all sides, with the settings of the student that is nearest to them.

    The nearest is no sampled one if possible, since those differ from all others in their settings;
    then one of a side, else of the size, else of the scope.
    """
    own = {s.name for some in here for s in some}
    scope, method = sides[0].scope, sides[0].method
    near = sorted(
        (s for s in found if size == s.size or scope == s.scope),
        key=lambda s: (
            s.origin == "sampler" and s.scope != "none",
            s.name not in own,
            s.size != size,
            s.scope != scope,
            s.method != method,
        ),
    )
    like = near[0] if near else None
    wanted = []
    for side, some in zip(sides, here, strict=True):
        if like and any(s.alike(like, ask.varies) and s.seeds == like.seeds for s in some):
            continue
        fraction = side.data_fraction
        if fraction is None and like is not None and like.terms and side.scope != "none":
            fraction = like.data_fraction
        terms = _terms(side)
        assert side.method is not None
        wanted.append(
            Wanted(
                method=side.method,
                size=size,
                ratio=ratio,
                scope=side.scope,
                terms=like.terms if like is not None and like.terms in terms else terms[0],
                data_fraction=fraction,
                like=like.name if like else None,
                other_scope=like is not None and like.scope != side.scope,
            )
        )
    return tuple(wanted)


def _label(ask: Ask, method: Method) -> str:
    first, second = ask.first, ask.second
    if second is None:
        return first.method or method
    if ask.varies == "loss":
        return f"{first.terms[0]} - {second.terms[0]}"
    if ask.varies == "scope":
        return f"{method}, {first.scope} - {second.scope}"
    return f"{first.method} - {second.method}"
