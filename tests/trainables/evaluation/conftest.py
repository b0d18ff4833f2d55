"""Small parquet files of questions for the random LLaVA, and what it is asked with."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.random_llava import PIXELS, make_model, make_processor
from PIL import Image

KINDS = ("attribute", "choice")


def noise_image(seed: int) -> Image.Image:
    """An image of random pixels."""
    return Image.frombytes("RGB", (PIXELS, PIXELS), random.Random(seed).randbytes(3 * PIXELS**2))


def question_rows(kind: str, count: int = 12, per_image: int = 3) -> list[dict[str, Any]]:
    """Rows of one kind; `per_image` neighbours, of different lengths, share an image."""
    colors = ("red", "green", "blue", "yellow")
    rows: list[dict[str, Any]] = []
    for i in range(count):
        words = "what color is the " + "object left of the " * (i % 4) + f"{colors[i % 4]} object ?"
        image = i // per_image
        rows.append(
            {
                "image": noise_image(image),
                "image_id": f"image-{image}",
                "scene": f"scene-{image}",
                "question": words,
                "answer": colors[i % 4] if kind == "attribute" else "ABCD"[i % 4],
                "kind": kind,
                "options": list(colors) if kind == "choice" else [],
            }
        )
    return rows


def write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows in the layout of the embedded tasks."""
    import datasets

    text = datasets.Value("string")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            **dict.fromkeys(("image_id", "scene", "question", "answer", "kind"), text),
            "options": datasets.List(text),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(list(rows), features=features).to_parquet(path)
    return path


@pytest.fixture(scope="session")
def model() -> Any:
    """A random model; tests do not change it."""
    return make_model()


@pytest.fixture(scope="session")
def processor() -> Any:
    """The processor of every model of this folder."""
    return make_processor()


@pytest.fixture(scope="session")
def build_model() -> Callable[..., Any]:
    """`make_model`, for tests that change their model or its sizes."""
    return make_model


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[dict[str, Any]]]:
    """`question_rows(kind, count, per_image)`."""
    return question_rows


@pytest.fixture(scope="session")
def make_parquet() -> Callable[..., Path]:
    """`write_parquet(path, rows)`."""
    return write_parquet


@pytest.fixture(scope="session")
def make_image() -> Callable[[int], Image.Image]:
    """`noise_image(seed)`."""
    return noise_image


@pytest.fixture(scope="session")
def task_data(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Parquet files of two kinds by split; `rows[kind]` are the rows of both splits."""
    folder = tmp_path_factory.mktemp("questions")
    rows = {kind: question_rows(kind) for kind in KINDS}
    files = {
        kind: {
            split: write_parquet(folder / kind / f"{split}.parquet", rows[kind])
            for split in ("search", "report")
        }
        for kind in KINDS
    }
    return SimpleNamespace(tasks=files, rows=rows)


@pytest.fixture(scope="session")
def task_folder(task_data: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task files of the search split."""
    from trainables.evaluation.task_files import write_task_files

    return write_task_files({"tiny": task_data}, "search", tmp_path_factory.mktemp("tasks"))


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], str]], None]:
    """Replaces the model's answers by a function of the question's text."""
    from trainables.evaluation import harness
    from trainables.evaluation.answering.generation import Answer, Question

    def install(reply: Callable[[str], str]) -> None:
        def answerer(model: Any, processor: Any, size: int) -> Callable[..., list[Answer]]:
            def answer(asked: Sequence[Question]) -> list[Answer]:
                return [Answer(reply(question.text), unfinished=False) for question in asked]

            return answer

        monkeypatch.setattr(harness, "Answerer", answerer)

    return install
