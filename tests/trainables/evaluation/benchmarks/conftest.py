"""Datasets of all benchmarks, copies fetched from them, and runs of their tasks, as fixtures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import benchmark_runs
from helpers.benchmark_hub import ROWS, write_hubs
from helpers.benchmark_runs import Run


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset in the hub's layout for every benchmark, by its task's name."""
    folder = tmp_path_factory.mktemp("hub")
    write_hubs(folder)
    return folder


@pytest.fixture(scope="session")
def data_folder(hub: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of all benchmarks, fetched from `hub`."""
    from trainables.evaluation.benchmarks import BENCHMARKS
    from trainables.evaluation.benchmarks.fetch import fetch

    folder = tmp_path_factory.mktemp("copies")
    for task, known in BENCHMARKS.items():
        fetch(known, folder, source=hub / task)
    return folder


@pytest.fixture
def rows_of() -> Callable[[str], list[dict[str, Any]]]:
    """The rows of a benchmark's dataset."""
    return lambda task: ROWS[task]()


@pytest.fixture
def task_folder_of(data_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """`task_folder_of(task, rows)`: task files that ask these rows of a copy, or all."""

    def make(task: str, rows: Sequence[int] | None = None) -> Path:
        return benchmark_runs.task_folder(data_folder, tmp_path, task, rows)

    return make


@pytest.fixture
def answer_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], str]], None]:
    """`answer_by(reply)`: the model of every evaluation answers `reply(question)`."""
    return lambda reply: benchmark_runs.answer_by(monkeypatch, reply)


@pytest.fixture
def run(
    task_folder_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Run]:
    """`run(task, reply, rows)`: lmms-eval's task on a copy, with `reply(question)` as the model."""

    def make(task: str, reply: Callable[[Any], str], rows: Sequence[int] | None = None) -> Run:
        log = tmp_path / "log.txt"
        return benchmark_runs.run_task(monkeypatch, task, task_folder_of(task, rows), reply, log)

    return make
