"""Greedy answers as plain text."""

from collections.abc import Sequence
from typing import Any

from trainables.evaluation.answering.generation import Answerer, Question


def answer(model: Any, processor: Any, questions: Sequence[Question], batch_size: int) -> list[str]:
    """Texts of the greedy answers, in the order of the questions (see `Answerer`)."""
    return [given.text for given in Answerer(model, processor, batch_size)(questions)]
