"""Runs of lmms-eval's own tasks on copies of benchmarks, with a function as the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Run:
    """One run of a task: our report and rows, the questions, lmms-eval's samples and results."""

    report: Any
    table: Any
    asked: list[Any]
    samples: list[dict[str, Any]]
    results: dict[str, Any]


def task_folder(data_folder: Path, target: Path, task: str, rows: Sequence[int] | None) -> Path:
    """Task files below `target` that ask these rows of a task's copy, or all."""
    from trainables.evaluation.benchmarks.copies import find_copy
    from trainables.evaluation.benchmarks.task_yaml import benchmark_files
    from trainables.evaluation.task_files import arrow_cache, write_task_files

    copy = find_copy(data_folder, task)
    chosen = range(copy.card.rows) if rows is None else rows
    files = benchmark_files(copy, chosen, arrow_cache(target))
    return write_task_files({}, "search", target, files)


def answer_by(monkeypatch: pytest.MonkeyPatch, reply: Callable[[Any], str]) -> None:
    """Let the model of every evaluation answer `reply(question)`."""
    from trainables.evaluation import harness
    from trainables.evaluation.answering.wrapper import InMemoryModel

    def generate_until(self: Any, requests: Sequence[Any]) -> list[str]:
        return [reply(self._question(request)) for request in requests]

    monkeypatch.setattr(harness, "Answerer", lambda *_: None)  # there is no model to ask
    monkeypatch.setattr(InMemoryModel, "generate_until", generate_until)


def run_task(
    monkeypatch: pytest.MonkeyPatch, task: str, folder: Path, reply: Callable[[Any], str], log: Path
) -> Run:
    """lmms-eval's task by the files in `folder`, with `reply(question)` as the model."""
    import lmms_eval.evaluator as evaluator

    from helpers.scored import evaluate
    from trainables.evaluation.request import EvaluationRequest

    original = evaluator.simple_evaluate
    asked: list[Any] = []
    found: dict[str, Any] = {}

    def noted(question: Any) -> str:
        asked.append(question)
        return reply(question)

    def evaluated(*args: Any, **kwargs: Any) -> Any:
        found.update(original(*args, **kwargs))
        return found

    answer_by(monkeypatch, noted)
    with monkeypatch.context() as patch:
        patch.setattr(evaluator, "simple_evaluate", evaluated)
        request = EvaluationRequest(tasks=(task,), split="search", task_folder=folder)
        report, table = evaluate(None, None, request, log=log)
    return Run(report, table, asked, found["samples"][task], found["results"][task])
