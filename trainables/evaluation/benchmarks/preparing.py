"""From a trial's evaluation settings to its benchmarks' task files, and what refuses them."""

from collections.abc import Iterable
from pathlib import Path

from trainables.evaluation.benchmarks.benchmark import BENCHMARKS
from trainables.evaluation.benchmarks.checks import check_copy, check_needs
from trainables.evaluation.benchmarks.copies import DATA_FOLDER, find_copy
from trainables.evaluation.benchmarks.installed import code_version
from trainables.evaluation.benchmarks.splits import select_rows
from trainables.evaluation.benchmarks.task_yaml import benchmark_files
from trainables.specs import EvaluationSpec
from trainables.specs.base import Split


def public(names: Iterable[str]) -> list[str]:
    """Those of the tasks that need a local copy of a public benchmark."""
    return [name for name in names if name in BENCHMARKS]


def check_benchmarks(
    settings: EvaluationSpec, needed: bool = True, option: str = DATA_FOLDER
) -> None:
    """Refuse public tasks that could not be scored with these settings on this machine.

    Args:
        settings: what is to be scored.
        needed: refuse a task without a copy even where `data_folder` is not set; a plan needs none.
        option: how the command at hand is given the folder of copies.

    Raises:
        ValueError: a program, a package, a copy, a column, a file or an image is missing.
    """
    for name in public(settings.tasks):
        check_needs(BENCHMARKS[name])
        code_version(BENCHMARKS[name])
        if needed or settings.data_folder is not None:
            check_copy(find_copy(settings.data_folder, name, option), settings.search_share)


def public_files(
    settings: EvaluationSpec, split: Split, limit: int | None, cache: Path
) -> dict[str, str]:
    """Task files of the settings' public tasks, by name.

    Args:
        settings: tasks, data folder, and how images are shared out and ordered.
        split: whose questions are asked.
        limit: at least so many of each task, in whole images; None is all.
        cache: where `datasets` may keep its form of the data.

    Raises:
        ValueError: a copy is missing or cannot be read.
    """
    files: dict[str, str] = {}
    for name in public(settings.tasks):
        check_needs(BENCHMARKS[name])
        copy = find_copy(settings.data_folder, name)
        check_copy(copy, settings.search_share)
        rows = select_rows(
            copy.benchmark.collection,
            copy.image_names,
            split,
            settings.search_share,
            settings.subset_seed,
            limit,
        )
        files |= benchmark_files(copy, rows, cache)
    return files


def public_version(settings: EvaluationSpec, name: str) -> dict[str, object]:
    """What the scores of a public task depend on besides the model, the split and its limit.

    lmms-eval's version with a digest of the task's own code, the copy's content wherever it lies,
    and how its rows are chosen.

    Raises:
        ValueError: the copy is missing.
    """
    copy = find_copy(settings.data_folder, name)
    return {
        "code": code_version(copy.benchmark),
        "data": copy.digest,
        "search_share": settings.search_share,
        "subset_seed": settings.subset_seed,
    }
