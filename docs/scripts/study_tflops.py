"""What the study's printed TFLOPs imply: how many tokens, and how much that no layer explains.

Within one model and method the printed rows differ only in what the language model's layers do.
With N weights and a query channels in the layers, a sequence of T tokens costs them 2 N T, and
4 a T^2 more where the products of attention are counted. T is the whole number for which printed
and computed rows differ by a constant as nearly as possible (least squares). The constant is then
the work outside of the layers: the head, 2 FLOPs per weight and token, and the vision tower.
An explanation, never a correction: our counts do not use any of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from docs.scripts.study_rows import Study, StudyRow
from sweeps.engine.plan.model_sizes import Sized
from trainables.models.work import attention_channels, linear_weights
from trainables.pruning.planning.sizes import TERA
from trainables.specs import Frozen, Method

LONGEST = 4096
PRINTED_TO = 0.01  # TFLOPs


class Implied(Frozen):
    """What the rows of one model and method imply.

    Attributes:
        model: the study's name.
        method: of the pruned rows; the dense row belongs to both.
        attention: whether the products of attention in the decoder count.
        tokens: T.
        image_tokens: those of them that are the image's.
        outside_tflops: the constant, without the head.
        passes: the same in forward passes of vision tower and projector over one image.
        largest_error_tflops: the farthest that a row lies from all this.
    """

    model: str
    method: Method
    attention: bool
    tokens: int
    image_tokens: int
    outside_tflops: float
    passes: float
    largest_error_tflops: float


class ImpliedLength(Frozen):
    """The sequence for which our own rule gives the printed TFLOPs of the dense model."""

    model: str
    tokens: int
    image_tokens: int


def implied(study: Study) -> list[Implied]:
    """Both readings of every model and method; rows whose TFLOPs are marked are left out."""
    pairs = list(zip(study.rows, study.sized, strict=True))
    methods: tuple[Method, ...] = ("layerwise", "widthwise")
    found = []
    for model in dict.fromkeys(row.cost.model for row in study.rows):
        for method in methods:
            own = [
                (row, sized)
                for row, sized in pairs
                if row.cost.model == model and row.marked != "tflops" and _belongs(row, method)
            ]
            found += [_implied(model, method, own, attention) for attention in (False, True)]
    return found


def implied_lengths(study: Study) -> list[ImpliedLength]:
    """For the dense row of every model: the positive root of V + 2 N T + 4 a T^2 = printed."""
    found: dict[str, ImpliedLength] = {}
    for row, sized in zip(study.rows, study.sized, strict=True):
        if row.cost.method is None:
            unpruned, shape = sized.counted.unpruned, sized.shape
            weights, channels = linear_weights(shape), attention_channels(shape)
            beyond = row.printed_tflops * TERA - unpruned.flops
            root = math.sqrt(weights**2 + 4 * channels * beyond)
            found[row.cost.model] = ImpliedLength(
                model=row.cost.model,
                tokens=round((root - weights) / (4 * channels)),
                image_tokens=unpruned.image_tokens,
            )
    return list(found.values())


def verdicts(found: Sequence[Implied]) -> list[str]:
    """A sentence per model: one forward pass of some length explains its rows, or none does."""
    return [
        _verdict(model, [each for each in found if each.model == model])
        for model in dict.fromkeys(each.model for each in found)
    ]


def _verdict(model: str, own: Sequence[Implied]) -> str:
    readings = [[each for each in own if each.attention == counted] for counted in (False, True)]
    fitting = [reading for reading in readings if _one_pass(reading)]
    if fitting:
        best = min(fitting, key=lambda reading: max(abs(each.passes - 1) for each in reading))[0]
        products = "counted" if best.attention else "left out"
        text = best.tokens - best.image_tokens
        return (
            f"{model}: the printed rows follow from one forward pass of {best.tokens} tokens "
            f"({text} of text) with the decoder's products of attention {products}."
        )
    rows = ", ".join(
        f"{each.method} rows {each.tokens} tokens and {each.passes:.1f} passes"
        for each in own
        if not each.attention
    )
    return (
        f"{model}: no length of one forward pass gives the printed rows ({rows}); what was counted "
        "besides the decoder is more than one image's pass, and not the same for both methods."
    )


def _one_pass(reading: Sequence[Implied]) -> bool:
    """Whether all methods imply one length and one pass of the tower, as far as digits tell."""
    lengths = [each.tokens for each in reading]
    return max(lengths) - min(lengths) <= 0.01 * max(lengths) and all(
        abs(each.passes - 1) < 0.05 and each.largest_error_tflops < PRINTED_TO for each in reading
    )


def _belongs(row: StudyRow, method: Method) -> bool:
    """Whether the row is one of the method's table, its dense row included."""
    return row.table == {"widthwise": 2, "layerwise": 7}[method]


def _implied(
    model: str, method: Method, own: Sequence[tuple[StudyRow, Sized]], attention: bool
) -> Implied:
    sized = own[0][1]
    head = sized.shape.vocab_size * sized.shape.hidden_size
    unpruned = sized.counted.unpruned
    printed = np.array([row.printed_tflops for row, _ in own]) * TERA
    weights = np.array([linear_weights(p.shape, p.target.widths) - head for _, p in own])
    channels = np.array([attention_channels(p.shape, p.target.widths) for _, p in own])
    tokens = np.arange(1, LONGEST)[:, None]
    layers = 2.0 * weights * tokens + (4.0 * channels * tokens**2 if attention else 0.0)
    rests = printed - layers  # [lengths, rows]
    best = int(np.argmin(rests.var(axis=1)))
    constant = rests[best].mean()
    length = int(tokens[best, 0])
    beyond = constant - 2.0 * head * length
    return Implied(
        model=model,
        method=method,
        attention=attention,
        tokens=length,
        image_tokens=unpruned.image_tokens,
        outside_tflops=beyond / TERA,
        passes=beyond / unpruned.flops,
        largest_error_tflops=float(np.abs(rests[best] - constant).max()) / TERA,
    )
