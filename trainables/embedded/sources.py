"""The data that embedded models bring along: conversations, and questions to be scored on.

A source is known by the name of its model; its tasks are named `<source>_<kind>`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainables.embedded import smol_dataset as smol
from trainables.embedded import tiny_dataset
from trainables.embedded.data import EVALUATION_SPLITS, EmbeddedData
from trainables.embedded.questions import KINDS
from trainables.embedded.wheels import PICTURES, obtain

DEFAULT_SOURCE = "tiny"  # whose data a model takes that brings none along


def embedded_task(source: str, kind: str) -> str:
    """Name of the task of one kind of an embedded model's questions."""
    return f"{source}_{kind}"


@dataclass(frozen=True)
class Kind:
    """One kind of question.

    Attributes:
        about: one line for lists.
        chance: percent that guessing scores: the most frequent answer, or one of two named.
    """

    about: str
    chance: float


@dataclass(frozen=True)
class EmbeddedSource:
    """How an embedded model's data is had, and how much of it there is.

    Attributes:
        prepare: makes the data below a folder unless it is there; safe to call at once.
        obtain: downloads what they are made of, unless that is here; raises ValueError.
        licence: of the data.
        new_tokens: the most of an answer, and one more, which shows whether the model stops there.
        kinds: what is asked, by kind.
        conversations: how many to recover on.
        questions: the most of any kind, by split.
    """

    prepare: Callable[[Path], EmbeddedData]
    licence: str
    new_tokens: int
    kinds: Mapping[str, Kind]
    conversations: int
    questions: Mapping[str, int]
    obtain: Callable[[], object] = lambda: None


# What tests count: answers of `tiny` are equally frequent; those of `smol` nearly.
SOURCES: dict[str, EmbeddedSource] = {
    "tiny": EmbeddedSource(
        prepare=tiny_dataset.prepare,
        licence="Apache-2.0, generated here",
        new_tokens=2,
        kinds={
            "attribute": Kind("colour or shape of an object", 100 / 10),
            "counting": Kind("number of objects", 100 / 5),
            "existence": Kind("is there such an object (yes / no)", 50.0),
            "relation": Kind("colour or shape of a place's neighbour", 100 / 10),
            "choice": Kind("multiple choice by letter", 25.0),
        },
        conversations=tiny_dataset.SCENES["train"] * len(KINDS),
        questions={s: tiny_dataset.SCENES[s] for s in EVALUATION_SPLITS},
    ),
    "smol": EmbeddedSource(
        prepare=smol.prepare,
        licence="MIT (easy-VQA), Apache-2.0 (position and either)",
        new_tokens=3,
        kinds={
            "color": Kind("colour of a shape", 100 / 6.5),
            "shape": Kind("circle, rectangle or triangle", 100 / 2.7),
            "existence": Kind("is there such a shape, or is there none (yes / no)", 50.0),
            "position": Kind("corner that the shape is in", 100 / 3.7),
            "either": Kind("which of two colours or shapes", 50.0),
        },
        conversations=smol.CONVERSATIONS,
        questions=smol.QUESTIONS,
        obtain=lambda: obtain(PICTURES),
    ),
}


def source_of(model: str) -> str:
    """Whose data a model takes where none are named: its own, or those of `tiny`."""
    return model if model in SOURCES else DEFAULT_SOURCE
