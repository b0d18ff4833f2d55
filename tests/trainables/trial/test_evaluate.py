"""The dense model's scores through the store, and what the image is worth."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.common.store import Store
from trainables.records.score_table import ScoreTable, TaskSamples
from trainables.specs import EvaluationSpec, TrialSpec
from trainables.trial.evaluate import dense_scores, image_gain, without_captions
from trainables.trial.inputs import NO_DATA, Inputs


def answered_by(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., ScoreTable]) -> None:
    """Let `answer` stand for the evaluation of public tasks of which there is no copy."""
    monkeypatch.setattr("trainables.trial.evaluate.score_tasks", answer)
    monkeypatch.setattr("trainables.trial.inputs.public_files", lambda *_: {})
    monkeypatch.setattr("trainables.trial.inputs.write_task_files", lambda data, split, *_: _[0])
    monkeypatch.setattr(Inputs, "task_version", lambda self, task, split: "1")


def test_scores_without_images_have_a_place_of_their_own(
    inputs: Callable[..., Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for twice each, with and without images: two evaluations, each with its own limit."""
    asked: list[tuple[int, bool]] = []

    def answer(model: Any, processor: Any, request: Any, *, keep: Any, **_: Any) -> ScoreTable:
        def score() -> ScoreTable:
            asked.append((request.limit, request.blank_images))
            rows = TaskSamples((0,), ("i",), np.array([float(request.limit)]), np.ones(1), ("yes",))
            return ScoreTable({"pope": rows})

        return keep("pope", score)  # type: ignore[no-any-return]

    answered_by(monkeypatch, answer)
    trial = inputs("layerwise")
    settings = EvaluationSpec(tasks=("pope",), search_limit=50, blank_image_limit=20)
    spec = trial.spec.model_copy(update={"evaluation": settings})
    trial = Inputs(spec, trial.store, trial.dense, trial.data)
    for _ in range(2):
        assert dense_scores(trial, "search").average == 50
        assert dense_scores(trial, "search", blank_images=True).average == 20
    assert asked == [(50, False), (20, True)]


def test_a_task_that_crashed_leaves_the_dense_scores_of_the_others(
    inputs: Callable[..., Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each task has an entry of its own, so only the one that crashed is asked again."""
    asked: list[str] = []

    def answer(model: Any, processor: Any, request: Any, *, keep: Any, **_: Any) -> ScoreTable:
        def score(task: str) -> ScoreTable:
            asked.append(task)
            if task == "gqa" and asked.count("gqa") == 1:
                raise RuntimeError("no such column")
            rows = TaskSamples((0,), ("i",), np.array([60.0]), np.ones(1), ("yes",))
            return ScoreTable({task: rows})

        tables: dict[str, TaskSamples] = {}
        for task in request.tasks:
            with contextlib.suppress(RuntimeError):
                tables |= keep(task, functools.partial(score, task)).tasks
        return ScoreTable(tables)

    answered_by(monkeypatch, answer)
    trial = inputs("layerwise")
    settings = EvaluationSpec(tasks=("pope", "gqa"))
    spec = trial.spec.model_copy(update={"evaluation": settings})
    trial = Inputs(spec, trial.store, trial.dense, trial.data)
    assert list(dense_scores(trial, "search").tasks) == ["pope"]
    assert list(dense_scores(trial, "search").tasks) == ["pope", "gqa"]
    assert asked == ["pope", "gqa", "gqa"]


def table(scores: list[float]) -> ScoreTable:
    n = len(scores)
    samples = TaskSamples(
        tuple(range(n)), tuple(map(str, range(n))), np.array(scores), np.ones(n), ("a",) * n
    )
    return ScoreTable({"gqa": samples})


def test_the_gain_is_taken_over_the_questions_that_were_asked_without_images() -> None:
    with_images = table([100, 100, 0, 100, 0, 0, 0, 0])
    assert image_gain(with_images, table([0, 100, 0, 0])) == pytest.approx(75 - 25)


def test_captions_are_not_asked_again_without_images() -> None:
    """Fewer of them would be scored together, which alone changes each one's CIDEr."""

    def asked(*tasks: str) -> tuple[str, ...] | None:
        spec = TrialSpec(evaluation=EvaluationSpec(tasks=tasks, blank_image_limit=5))
        dense: Any = None
        left = without_captions(Inputs(spec, Store(Path()), dense, NO_DATA))
        return None if left is None else left.spec.evaluation.tasks

    assert asked("coco2017_cap_val", "pope") == ("pope",)
    assert asked("coco2017_cap_val") is None
