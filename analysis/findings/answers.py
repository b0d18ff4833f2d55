"""The answer to every question, with an interval, and what it makes of the claims.

A value is a weighted sum of students' scores. Its variance has two parts. That of the choice of
questions is clustered by image and paired, where all students answered the same ones (else their
errors count as independent, which is too wide rather than too narrow). That of the seeds is pooled
over all configurations that were run with several, apart for trained and for untrained students; of
a sweep without repeats nothing is known of it, and the report says so. The two are added, with the
degrees of freedom of Welch and Satterthwaite; intervals are Student's, and Bonferroni's correction
over all questions that the sweep is asked, tried or not, makes all of them hold together: what is
said of one claim does not change when trials of another one come in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from analysis.contrasts import t_factor
from analysis.findings.claims import Claim
from analysis.findings.questions import Pair, Question, Wanted
from analysis.findings.students import Scores, Student
from analysis.power import POWER
from analysis.samples import paired_influences
from trainables.specs import Frozen, Split

Word = Literal["holds", "does not hold", "cannot say"]
Weighted = list[tuple[Student, float]]


class Answer(Frozen):
    """What is known of one comparison, in points.

    Attributes:
        label: the two sides.
        places: the sizes that were tried.
        estimate: None before there are trials; `low` and `high` are the ends of its interval, None
            where there are no samples.
        split: of the scores.
        images: behind the scores, where all of them answered the same questions.
        seeds: sets of seeds, the fewest of a place.
        more: how many times the questions would show with 80 % power what the estimate says; None
            where something is missing, or no number would.
        wanted: missing trials.
    """

    label: str
    places: tuple[str, ...]
    word: Word
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    split: Split | None = None
    images: int | None = None
    seeds: int = 0
    more: float | None = None
    trials: tuple[str, ...] = ()
    wanted: tuple[Wanted, ...] = ()


class Finding(Frozen):
    """A claim, what is to be said of it, and why."""

    claim: str
    text: str
    word: Word
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Noise:
    """A variance and its degrees of freedom."""

    variance: float
    degrees: float


def findings(asked: Sequence[Question]) -> list[Finding]:
    """The findings of all claims that something is asked of, in their order."""
    seeds = seed_noise(asked)
    claims = dict.fromkeys(question.claim for question in asked)
    found = []
    for claim in claims:
        answers = tuple(_answer(q, seeds, len(asked)) for q in asked if q.claim is claim)
        word = _together([answer.word for answer in answers])
        found.append(Finding(claim=claim.name, text=claim.text, word=word, answers=answers))
    return found


def seed_noise(asked: Iterable[Question]) -> dict[bool, Noise]:
    """Variance of a student's retention over seeds, for trained ones (True) and for others.

    Pooled over the configurations that have several; there is none for a kind without any.
    """
    pools = dict[bool, Noise]()
    every = (side for q in asked for pair in q.pairs for side in (pair.first, pair.second))
    sides = {tuple(s.name for s in side): side for side in every}.values()
    for trained in (True, False):
        squares, degrees = 0.0, 0
        for side in sides:
            if len(side) > 1 and (side[0].scope != "none") == trained:
                split = _split(side)
                values = [s.scores[split].retention for s in side]
                squares += float(np.var(values)) * len(side)
                degrees += len(side) - 1
        if degrees:
            pools[trained] = Noise(squares / degrees, degrees)
    return pools


def _answer(question: Question, seeds: dict[bool, Noise], among: int) -> Answer:
    claim = question.claim
    tried = [pair for pair in question.pairs if not pair.wanted]
    wanted = tuple(want for pair in question.pairs for want in pair.wanted)
    places = tuple(pair.place for pair in tried or question.pairs)
    if not tried:
        return Answer(label=question.label, places=places, word="cannot say", wanted=wanted)
    members = _members(tried)
    split = _split([student for student, _ in members])
    estimate = sum(weight * _value(claim, s.scores[split])[0] for s, weight in members)
    asked, images = _question_noise(claim, members, split)
    low = high = more = None
    word: Word = "cannot say"
    if asked is not None:
        trained = any(s.scope != "none" for s, _ in members)
        noise = _with_seeds(asked, seeds.get(trained), members)
        factor = t_factor(noise.degrees, among)
        error = math.sqrt(noise.variance)
        low, high = estimate - factor * error, estimate + factor * error
    if not wanted:
        word = _word(claim, estimate if low is None else low, estimate if high is None else high)
        if word == "cannot say" and asked is not None:
            away = max(estimate - claim.holds_above, claim.fails_below - estimate)
            if away > 0:
                more = ((factor + NormalDist().inv_cdf(POWER)) * error / away) ** 2
    return Answer(
        label=question.label,
        places=places,
        word=word,
        estimate=estimate,
        low=low,
        high=high,
        split=split,
        images=images,
        seeds=min(len(pair.first) for pair in tried),
        more=more,
        trials=tuple(dict.fromkeys(s.name for s, _ in members)),
        wanted=wanted,
    )


def _word(claim: Claim, low: float, high: float) -> Word:
    if low > claim.holds_above or low == high > claim.holds_above:
        return "holds"
    return "does not hold" if high < claim.fails_below else "cannot say"


def _together(words: Sequence[Word]) -> Word:
    if "does not hold" in words:
        return "does not hold"
    return "cannot say" if "cannot say" in words else "holds"


def _members(pairs: Sequence[Pair]) -> Weighted:
    """Students with their weights: the mean over places of the means over seeds."""
    found: Weighted = []
    for pair in pairs:
        share = 1 / (len(pairs) * len(pair.first))
        found += [(s, share) for s in pair.first] + [(s, -share) for s in pair.second]
    return found


def _split(students: Sequence[Student]) -> Split:
    return "report" if all("report" in s.scores for s in students) else "search"


def _value(claim: Claim, scores: Scores) -> tuple[float, float | None]:
    """The value that the claim is about, with its standard error."""
    if claim.value == "lost":
        return scores.lost, scores.lost_error
    return scores.retention, scores.error


def _question_noise(
    claim: Claim, members: Weighted, split: Split
) -> tuple[Noise | None, int | None]:
    """What the choice of questions adds, and the images where they were the same for all."""
    errors = [_value(claim, s.scores[split])[1] for s, _ in members]
    if any(error is None for error in errors):
        return None, None
    weights = np.array([weight for _, weight in members])
    trials = [s.trial for s, _ in members if s.trial is not None]
    if (weights < 0).any() and len(trials) == len(members):
        for places, sums in paired_influences(trials, split):
            if len(places) == len(members):
                moved = 100 * weights @ sums
                count = sums.shape[1]
                variance = float(np.square(moved).sum()) * count / (count - 1)
                return Noise(variance, count - 1), count
    own = np.abs(weights) * np.array(errors, dtype=np.float64)
    # Repeats of one student with other seeds answered the same questions.
    variance = float(np.square(own).sum() if (weights < 0).any() else own.sum() ** 2)
    return Noise(variance, math.inf), None


def _with_seeds(asked: Noise, seeds: Noise | None, members: Weighted) -> Noise:
    if seeds is None:
        return asked
    added = seeds.variance * sum(weight**2 for _, weight in members)
    total = asked.variance + added
    if not total:
        return asked
    parts = asked.variance**2 / asked.degrees + added**2 / seeds.degrees
    return Noise(total, total**2 / parts if parts else math.inf)
