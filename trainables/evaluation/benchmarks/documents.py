"""What lmms-eval calls while it runs a task on a local copy; imported in its process only.

Prompts, filters and scoring are lmms-eval's. Ours are: which rows are asked, in which order, where
their images come from, and, for two tasks, that scoring is repeatable and asks nobody else.
"""

import json
import random
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainables.evaluation.benchmarks.benchmark import BENCHMARKS, IMAGE_NAME, ROW
from trainables.evaluation.benchmarks.checks import decode
from trainables.evaluation.benchmarks.copies import Copy, read_copy
from trainables.evaluation.benchmarks.installed import task_yaml
from trainables.evaluation.benchmarks.quick_extraction import import_without_judge, without_judge

Doc = dict[str, Any]


def hook(folder: Path, name: str) -> Callable[..., Any]:
    """The function that a task file in `folder` calls `!function docs.<task>__<part>`.

    Raises:
        AttributeError: there is no such task in the folder, or no such part.
    """
    task, _, part = name.rpartition("__")
    plan = folder / f"{task}.json"
    if part not in _PARTS or not plan.is_file():
        raise AttributeError(name)
    if BENCHMARKS[task].rows == "mathvista":
        import_without_judge()  # before lmms-eval reads the task's own file
    return _PARTS[part](plan)


def _documents(plan: Path) -> Callable[[Any], Any]:
    """`process_docs`: the split's rows, in its order."""

    def documents(dataset: Any) -> Any:
        import datasets

        asked = json.loads(plan.read_text("utf-8"))
        copy = _copy(Path(asked["folder"]), asked["digest"])
        for column in copy.benchmark.image_columns:
            # Decoded when a question is due, where a broken image can be named by its row.
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
        dataset = dataset.add_column(ROW, list(range(len(dataset))))
        dataset = dataset.add_column(IMAGE_NAME, list(copy.image_names))
        return dataset.select(asked["rows"])

    return documents


def _visuals(plan: Path) -> Callable[[Doc], list[Any]]:
    """`doc_to_visual`: lmms-eval's own, with the images that the copy holds."""
    asked = json.loads(plan.read_text("utf-8"))

    def visuals(doc: Doc) -> list[Any]:
        copy = _copy(Path(asked["folder"]), asked["digest"])
        cells = {name: doc[name] for name in copy.benchmark.image_columns}
        if copy.images is not None:
            cells = {"image": _image_cell(copy.images, asked["digest"], doc[IMAGE_NAME])}
        try:
            shown = {name: decode(cell) for name, cell in cells.items() if cell is not None}
        except ValueError as error:
            raise ValueError(
                f"row {doc[ROW]} of {copy.questions}: its image cannot be read ({error}); "
                f"`prunesweep data check {copy.folder}` lists all of them"
            ) from None
        images: list[Any] = _own(copy.benchmark.name)["doc_to_visual"]({**doc, **cells, **shown})
        return images

    return visuals


def _results(plan: Path) -> Callable[[Doc, list[str]], dict[str, Any]]:
    """`process_results` of the two tasks whose own one is not repeatable, or asks a judge."""
    own = _own(plan.stem)["process_results"]
    if BENCHMARKS[plan.stem].rows == "mathvista":
        return without_judge(own)

    def repeatable(doc: Doc, answers: list[str]) -> dict[str, Any]:
        # MMMU's rules guess where an answer to a multiple-choice question names no option.
        state = random.getstate()
        random.seed(f"{doc['id']}\0{answers[0]}")
        try:
            results: dict[str, Any] = own(doc, answers)
        finally:
            random.setstate(state)
        return results

    return repeatable


_PARTS: dict[str, Callable[[Path], Callable[..., Any]]] = {
    "documents": _documents,
    "visuals": _visuals,
    "results": _results,
}


@lru_cache(maxsize=16)
def _copy(folder: Path, digest: str) -> Copy:
    copy = read_copy(folder)
    if copy.digest != digest:
        raise ValueError(f"the copy in {folder} was replaced meanwhile; start again")
    return copy


@lru_cache(maxsize=16)
def _own(task: str) -> dict[str, Any]:
    """lmms-eval's own task file, with its functions, loaded apart from the running task."""
    from lmms_eval.utils import load_yaml_config

    config: dict[str, Any] = load_yaml_config(str(task_yaml(BENCHMARKS[task])), mode="full")
    return config


def _image_cell(path: Path, digest: str, name: str) -> Any:
    table, place = _image_table(path, digest)
    if name not in place:
        raise ValueError(f"image {name!r} is not in {path}")
    return table["image"][place[name]].as_py()


@lru_cache(maxsize=2)
def _image_table(path: Path, digest: str) -> tuple[Any, dict[str, int]]:
    """A table of images in memory, and the row of each: 400 pictures serve GQA's questions.

    The copy's digest is part of the key, so that a copy fetched again is read again.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["id", "image"])
    return table, {str(name): row for row, name in enumerate(table["id"].to_pylist())}
