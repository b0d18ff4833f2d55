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
from statistics import NormalDist
from typing import Literal

import numpy as np

from analysis.contrasts import Noise, pooled_noise, t_factor
from analysis.findings.claims import Claim
from analysis.findings.questions import Pair, Question, Wanted
from analysis.findings.students import Scores, Student
from analysis.power import POWER
from analysis.samples import paired_influences
from trainables.records.clusters import summed_error
from trainables.specs import Frozen, Split

Word = Literal["holds", "does not hold", "cannot say"]
Weighted = list[tuple[Student, float]]


class Answer(Frozen):
    """What is known of one comparison, in points.

    Attributes:
        label: the two sides.
        places: the sizes that were tried, or are missing.
        estimate: None before there are trials; `low` and `high` are the ends of its interval, None
            where there are no samples.
        split: of the scores.
        images: behind the scores, where all of them answered the same questions.
        seeds: sets of seeds, the fewest of a place.
        more: how many times the questions would show with 80 % power what the estimate says, where
            the interval is too wide; None where no number of questions would, but more seeds may.
        trials: `sweep/trial` of all that were compared.
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


def findings(asked: Sequence[Question]) -> list[Finding]:
    """The findings of all claims that something is asked of, in their order."""
    seeds = seed_noise(asked)
    claims = dict.fromkeys(question.claim for question in asked)
    found = []
    for claim in claims:
        answers = tuple(answer_to(q, seeds, len(asked)) for q in asked if q.claim is claim)
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
        same = (side for side in sides if side and (side[0].scope != "none") == trained)
        noise = pooled_noise(
            [s.scores[common_split(side)].retention for s in side] for side in same
        )
        if noise is not None:
            pools[trained] = noise
    return pools


def answer_to(question: Question, seeds: dict[bool, Noise], among: int) -> Answer:
    """What is known of one of `among` comparisons, whose intervals hold together."""
    claim = question.claim
    places = tuple(pair.place for pair in question.pairs)
    if wanted := tuple(want for pair in question.pairs for want in pair.wanted):
        return Answer(label=question.label, places=places, word="cannot say", wanted=wanted)
    members = _members(question.pairs)
    split = common_split([student for student, _ in members])
    estimate = sum(weight * _value(claim, s.scores[split])[0] for s, weight in members)
    asked, images = _question_noise(claim, members, split)
    low = high = more = None
    if asked is not None:
        seeded = _seed_noise(members, seeds)
        noise = _sum(asked, seeded)
        factor = t_factor(noise.degrees, among)
        half = factor * math.sqrt(noise.variance)
        low, high = estimate - half, estimate + half
        away = max(estimate - claim.holds_above, claim.fails_below - estimate, 0.0)
        # The variance that is to be left, and what of it questions may have.
        room = (away / (factor + NormalDist().inv_cdf(POWER))) ** 2 - seeded.variance
        more = asked.variance / room if room > 0 else None
    if low is not None and high is not None:
        word = _word(claim, low, high)
    else:
        printed = all(student.printed for student, _ in members)
        word = _word(claim, estimate, estimate) if printed else "cannot say"
    return Answer(
        label=question.label,
        places=places,
        word=word,
        estimate=estimate,
        low=low,
        high=high,
        split=split,
        images=images,
        seeds=min(len(pair.first) for pair in question.pairs),
        more=more if word == "cannot say" else None,
        trials=tuple(dict.fromkeys(s.name for s, _ in members)),
    )


def _word(claim: Claim, low: float, high: float) -> Word:
    if low > claim.holds_above:
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


def common_split(students: Sequence[Student]) -> Split:
    """The report split where all have scores there."""
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
                count = sums.shape[1]
                return Noise(summed_error(100 * weights @ sums) ** 2, count - 1), count
    own = np.abs(weights) * np.array(errors, dtype=np.float64)
    # Repeats of one student with other seeds answered the same questions.
    variance = float(np.square(own).sum() if (weights < 0).any() else own.sum() ** 2)
    return Noise(variance, math.inf), None


def _seed_noise(members: Weighted, seeds: dict[bool, Noise]) -> Noise:
    known = seeds.get(any(s.scope != "none" for s, _ in members), Noise(0.0, math.inf))
    return Noise(known.variance * sum(weight**2 for _, weight in members), known.degrees)


def _sum(*parts: Noise) -> Noise:
    """Independent variances added, with the degrees of freedom of Welch and Satterthwaite."""
    total = sum(part.variance for part in parts)
    uncertain = sum(part.variance**2 / part.degrees for part in parts)
    return Noise(total, total**2 / uncertain if uncertain else math.inf)
