"""The study's claims (arXiv 2507.20749) as tests, which are the same for every sweep.

A claim is one or several comparisons at the sizes of a sweep. A comparison has a value, in points
of retention: how far its first side is ahead of its second, or what the first side keeps (or loses)
by itself. With the interval of that value from l to h a claim's comparison

- *holds* when l > `holds_above`: the opposite would be wrong;
- *does not hold* when h < `fails_below`: if there is something, it is less than matters;
- cannot be told otherwise.

Where both would be true the first counts: a difference of 0.3 to 0.7 points is one. Margins: a side
is *better* when it is ahead at all, and is not when it is ahead by less than `POINTS`, the
difference that sweeps are planned to see; it *suffices* when it is less than 2 points behind (the
study calls 96.7 sufficient beside 97.8); distillation alone is *unstable* when it ends 10 points or
more behind supervised training (the study's own lie 22 and 57 behind); a model has *collapsed* when
three quarters of what the dense one does better than guessing are gone (the study's lose 87 and
93 % of all). A claim holds when all of its comparisons do, and does not when one does not. All
intervals of all claims of a sweep hold together in 95 % of sweeps (`answers.py`), so in at most 5 %
of sweeps one of the words is wrong. Sizes are what was asked for: `within` leaves out its lower end
and holds its upper one, as the study's decision flow does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analysis.power import POINTS
from trainables.specs import Method, Scope

Value = Literal["retention", "lost"]
TOLD = ("ce+l2", "ce")  # of recoveries that serve a claim, the study's best first
ALONE = ("l2", "reverse_kl")  # the study's distillation without supervised training (its Table 3)
OTHERS = ("ce", *ALONE, "ce+reverse_kl")  # and everything else that its Table 3 has
FEW = 0.05  # of the data


@dataclass(frozen=True)
class Side:
    """Which students are on one side of a comparison.

    Attributes:
        scope: what recovery trained.
        terms: the loss terms, the first that there are trials of; empty without recovery.
        method: of pruning; None is layerwise, the study's case, or what a sweep has instead.
        data_fraction: share of the training conversations; None is any, the same on both sides.
    """

    scope: Scope
    terms: tuple[str, ...] = ()
    method: Method | None = None
    data_fraction: float | None = None


@dataclass(frozen=True)
class Ask:
    """A comparison, at every size within an interval.

    Attributes:
        first: whose value it is.
        second: what is taken off; None leaves the value of the first.
        within: (above, up to) fractions of the language model that were to go.
        varies: what both sides differ in; all other settings must be the same.
        mean: one question about the mean over the sizes that were tried with both sides, instead of
            one for each size.
    """

    first: Side
    second: Side | None
    within: tuple[float, float]
    varies: Literal["method", "scope", "loss"] | None = None
    mean: bool = False


@dataclass(frozen=True)
class Claim:
    """A claim of the study; what the attributes mean stands at the top of this file."""

    name: str
    text: str
    asks: tuple[Ask, ...]
    value: Value = "retention"
    holds_above: float = 0.0
    fails_below: float = 0.0


NONE_WIDE, NONE_LAYERS = Side("none", method="widthwise"), Side("none", method="layerwise")
WIDE, LAYERS = Side("joint", TOLD, "widthwise"), Side("joint", TOLD, "layerwise")

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "width-first",
        "Without recovery, widthwise pruning keeps more than layerwise, on average over the sizes",
        (Ask(NONE_WIDE, NONE_LAYERS, (0.0, 1.0), "method", mean=True),),
        fails_below=POINTS,
    ),
    Claim(
        "crossing",
        "With recovery, layerwise keeps more up to 40 % removed, and widthwise above",
        (
            Ask(LAYERS, WIDE, (0.0, 0.40), "method"),
            Ask(WIDE, LAYERS, (0.40, 1.0), "method"),
        ),
        fails_below=POINTS,
    ),
    Claim(
        "projector",
        "Up to 20 % removed, training the projector alone keeps as much as training all (within 2 "
        "points)",
        (
            Ask(
                Side("projector", ("ce", "ce+l2")),
                Side("joint", ("ce", "ce+l2")),
                (0.0, 0.20),
                "scope",
            ),
        ),
        holds_above=-2.0,
        fails_below=-2.0,
    ),
    Claim(
        "ce+l2",
        "Supervised training with hidden-state distillation (ce+l2) keeps more than each of "
        f"{', '.join(OTHERS)}, on average over the sizes",
        tuple(
            Ask(Side("joint", ("ce+l2",)), Side("joint", (t,)), (0.0, 1.0), "loss", mean=True)
            for t in OTHERS
        ),
        fails_below=POINTS,
    ),
    Claim(
        "few-data",
        "Up to 30 % removed, recovery on 5 % of the data keeps 95 %",
        (Ask(Side("joint", TOLD, data_fraction=FEW), None, (0.0, 0.30)),),
        holds_above=95.0,
        fails_below=95.0,
    ),
    Claim(
        "collapse",
        "Layerwise pruning of 60 % or more without recovery loses three quarters of what the dense "
        "model does better than guessing",
        (Ask(NONE_LAYERS, None, (0.59, 1.0)),),
        value="lost",
        holds_above=75.0,
        fails_below=75.0,
    ),
    Claim(
        "unstable",
        "Above 45 % removed, distillation alone ends 10 points or more behind supervised training",
        tuple(
            Ask(Side("joint", ("ce",)), Side("joint", (t,)), (0.45, 1.0), "loss", mean=True)
            for t in ALONE
        ),
        holds_above=10.0,
        fails_below=10.0,
    ),
)
