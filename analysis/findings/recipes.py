"""Which recipe wins at which size, with how much data: the study's decision flow from own trials.

A recipe is a method, what is trained, and the terms of the loss. At each size, and for each share
of the data that may be used at most, the configuration that retains most is the best, and a recipe
is *beaten* when the best is ahead of it in all of its configurations there: the interval of the
difference lies above 0. The recipes that are not beaten cannot be told apart; of each the cheapest
configuration that is not beaten stands for it, and the one with the cheapest recovery comes first.

Intervals are those of the findings (`answers.py`): paired by question, clustered by image, with the
noise of seeds where it is known. The best was chosen by looking, so they hold for all pairs of
configurations of a size together, at all sizes (Bonferroni, 95 %). Of the configurations of one
recipe on one share of the data the one that retains most is compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, Literal, NamedTuple

from analysis.contrasts import Noise
from analysis.findings.answers import answer_to, common_split, seed_noise
from analysis.findings.claims import Claim
from analysis.findings.questions import Design, Pair, Question
from analysis.findings.students import Student, students
from analysis.load import Trial, trial_of
from analysis.points import is_guessing
from trainables.specs import Frozen, Method, RecoverySpec, Scope, Split

Advice = Callable[[float, bool], Mapping[str, Any]]  # (ratio, whether there is data) -> point
Word = Literal["certain", "cannot be told apart", "alone", "not tried", "guessing"]
AHEAD = Claim("recipe", "the best recipe retains more", ())


class Recipe(Frozen):
    """A recipe at a size.

    Attributes:
        data_fraction: share of the data of the configuration that stands for it; 0 without.
        retention: in points, on the split of its place, mean over seeds.
        ahead: how far the best is ahead of it, in points, with its interval `low` to `high`; None
            of the best itself.
        recovery_tflops: what its recovery takes.
        trial: `sweep/trial`.
        tried: configurations of it at this size within the data.
        study: whether the study's decision flow says so.
    """

    method: Method
    scope: Scope
    terms: str
    data_fraction: float
    retention: float
    ahead: float | None = None
    low: float | None = None
    high: float | None = None
    recovery_tflops: float | None = None
    trial: str
    tried: int = 1
    study: bool = False

    @property
    def label(self) -> str:
        """A readable name."""
        return recipe_label(self.method, self.scope, self.terms)


class Place(Frozen):
    """A size, and at most so much data.

    Attributes:
        size: what was asked for, in short; `ratio` is the fraction of the language model.
        data_fraction: the most; 0 is no data, and so no recovery.
        word: whether one recipe is surely the best, or several cannot be told apart, or only one
            was tried (`alone`), or what was tried is no better than guessing.
        split: of the scores.
        recipes: those that are not beaten, the one with the cheapest recovery first.
        beaten: the others, the best first.
        advice: the study's recipe; `advised` says what became of it.
    """

    size: str
    ratio: float
    data_fraction: float
    word: Word
    split: Split | None = None
    recipes: tuple[Recipe, ...] = ()
    beaten: tuple[Recipe, ...] = ()
    advice: str = ""
    advised: Literal["not beaten", "beaten", "not tried"] = "not tried"


class Configuration(NamedTuple):
    """Students that differ in their seeds alone, and what their recovery takes."""

    students: tuple[Student, ...]
    tflops: float

    @property
    def recipe(self) -> tuple[Method, Scope, str]:
        """What it is a configuration of."""
        one = self.students[0]
        return one.method, one.scope, one.terms


def recipe_label(method: str, scope: str, terms: str) -> str:
    """`layerwise joint ce+l2`, `widthwise no recovery`."""
    return f"{method} {scope} {terms}" if scope != "none" else f"{method} no recovery"


def find_places(trials: Sequence[Trial], design: Design, advice: Advice) -> list[Place]:
    """Every size of the design, by rising share of the data.

    Quantized students are left out. A trial that kept the student as it was pruned, because
    training made it worse, is one without recovery.
    """
    plain = [_as_kept(t) for t in trials if t.record.spec.quantization == "none"]
    found = students(plain)
    fractions = sorted({0.0} | {s.data_fraction for s in found})
    sizes = sorted(design.sizes.items(), key=lambda size: size[1])
    by_size = {size: [s for s in found if s.size == size] for size, _ in sizes}
    splits = {size: common_split(some) for size, some in by_size.items()}
    better = {size: _configurations(some, splits[size]) for size, some in by_size.items()}
    among = max(sum(math.comb(len(some), 2) for some in better.values()), 1)
    seeds = seed_noise([_question(c, c) for some in better.values() for c in some])
    return [
        _place(size, ratio, most, by_size[size], splits[size], better[size], seeds, among, advice)
        for size, ratio in sizes
        for most in fractions
    ]


def _place(
    size: str, ratio: float, most: float, tried: Sequence[Student], split: Split,
    better: Sequence[Configuration], seeds: dict[bool, Noise], among: int, advice: Advice,
) -> Place:  # fmt: skip
    advised = advice(ratio, most > 0)
    wanted = (advised["method"], advised["scope"], advised.get("terms", ""))
    place = Place(
        size=size, ratio=ratio, data_fraction=most, word="not tried", advice=recipe_label(*wanted)
    )
    some = [c for c in better if c.students[0].data_fraction <= most]
    if not some:
        any_tried = any(s.data_fraction <= most for s in tried)
        return place.model_copy(update={"word": "guessing"}) if any_tried else place
    best = max(some, key=lambda c: _retention(c, split))
    kept, beaten = dict[Any, Recipe](), dict[Any, Recipe]()
    for each in sorted(_leaders(some, split), key=lambda c: (c.tflops, -_retention(c, split))):
        count = sum(c.recipe == each.recipe for c in some)
        recipe = _recipe(each, split, count, each.recipe == wanted)
        loses = False
        if each is not best:
            answer = answer_to(_question(best, each), seeds, among)
            loses = answer.word == "holds"
            numbers = {"ahead": answer.estimate, "low": answer.low, "high": answer.high}
            recipe = recipe.model_copy(update=numbers)
        if not loses:
            kept.setdefault(each.recipe, recipe)
        elif each.recipe not in beaten or recipe.retention > beaten[each.recipe].retention:
            beaten[each.recipe] = recipe
    lost = [recipe for key, recipe in beaten.items() if key not in kept]
    known = "not beaten" if wanted in kept else "beaten" if wanted in beaten else "not tried"
    word: Word = "cannot be told apart" if len(kept) > 1 else "certain" if lost else "alone"
    return place.model_copy(
        update={
            "word": word,
            "split": split,
            "recipes": tuple(kept.values()),
            "beaten": tuple(sorted(lost, key=lambda r: -r.retention)),
            "advised": known,
        }
    )


def _as_kept(trial: Trial) -> Trial:
    if trial.record.kept == "trained":
        return trial
    spec = trial.record.spec.model_copy(update={"recovery": RecoverySpec(scope="none")})
    record = trial.record.model_copy(update={"spec": spec, "kept": "trained", "recovery": None})
    return trial_of(record, trial.report, trial.folder)


def _configurations(some: Sequence[Student], split: Split) -> list[Configuration]:
    """Those that are better than guessing, each with its seeds."""
    alike: dict[tuple[tuple[str, str], ...], dict[Any, Student]] = {}
    for student in some:
        trial = student.trial
        scores = trial.evaluation(split) if trial else None
        if split in student.scores and scores is not None and not is_guessing(scores):
            key = tuple(sorted(student.settings.items()))
            own = replace(student, scores={split: student.scores[split]})
            alike.setdefault(key, {}).setdefault(student.seeds, own)
    return [
        Configuration(
            tuple(seeded.values()), min(_tflops(s.trial) for s in seeded.values() if s.trial)
        )
        for seeded in alike.values()
    ]


def _tflops(trial: Trial) -> float:
    return trial.axes["recovery_tflops"] or 0.0


def _leaders(some: Sequence[Configuration], split: Split) -> list[Configuration]:
    """The configuration that retains most, of each recipe and share of the data."""
    found: dict[Any, Configuration] = {}
    for each in some:
        key = (each.recipe, each.students[0].data_fraction)
        if key not in found or _retention(each, split) > _retention(found[key], split):
            found[key] = each
    return list(found.values())


def _retention(each: Configuration, split: Split) -> float:
    return fmean(s.scores[split].retention for s in each.students)


def _question(first: Configuration, second: Configuration) -> Question:
    """How far one is ahead of the other: seed by seed where they share seeds."""
    ours, theirs = ({s.seeds: s for s in c.students} for c in (first, second))
    shared = [seed for seed in ours if seed in theirs]
    if shared:
        pair = Pair("", tuple(ours[s] for s in shared), tuple(theirs[s] for s in shared))
    else:
        pair = Pair("", first.students[:1], second.students[:1])
    return Question(AHEAD, "best - other", (pair,))


def _recipe(each: Configuration, split: Split, tried: int, study: bool) -> Recipe:
    method, scope, terms = each.recipe
    return Recipe(
        method=method,
        scope=scope,
        terms=terms,
        data_fraction=each.students[0].data_fraction,
        retention=_retention(each, split),
        recovery_tflops=each.tflops,
        trial=each.students[0].name,
        tried=tried,
        study=study,
    )
