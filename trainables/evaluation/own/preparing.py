"""From a trial's evaluation settings to the task files of the user's own tasks. Torch-free."""

from collections.abc import Sequence
from pathlib import Path

from trainables.common.contents import file_digest
from trainables.common.provenance import versions
from trainables.common.store import Store
from trainables.evaluation.benchmarks.benchmark import IMAGE_NAME, TaskInfo
from trainables.evaluation.own.looking import look_at
from trainables.evaluation.own.task_info import own_rows, own_task
from trainables.evaluation.own.task_yaml import check_yaml, chosen_yaml
from trainables.evaluation.own.vqa_file import ANSWER_LENGTHS, read_vqa, vqa_files
from trainables.evaluation.own.vqa_tasks import COPIED, TEMPLATE, vqa_task_files
from trainables.evaluation.own.yaml_tasks import yaml_task_files
from trainables.specs import EvaluationSpec, Split


def check_own(settings: EvaluationSpec) -> None:
    """Refuse own tasks that could not be scored with these settings, as far as files say it.

    Raises:
        ValueError: a file, a row, a picture or one side of the split is missing or does not fit.
    """
    for task in chosen_yaml(settings).values():
        check_yaml(task)
    for name, file in vqa_files(settings).items():
        _check_sides(name, read_vqa(file, settings.image_folder).image_ids, settings)


def look_at_own(settings: EvaluationSpec, store: Store) -> None:
    """Refuse lmms-eval tasks without samples, or without a score of each; looks once, then knows.

    Raises:
        ValueError: names the task, and what is wrong.
    """
    for name, task in chosen_yaml(settings).items():
        _check_sides(name, look_at(task, store).images, settings)


def own_tasks(settings: EvaluationSpec, store: Store) -> dict[str, TaskInfo]:
    """The user's own tasks, with all that is known of them once they are read."""
    found = {}
    for name, file in vqa_files(settings).items():
        metric = read_vqa(file, settings.image_folder).metric
        lengths = {"answer_lengths": ANSWER_LENGTHS[metric]}
        found[name] = own_task(name, f"questions of {file.path}").model_copy(update=lengths)
    for name, task in chosen_yaml(settings).items():
        metric = look_at(task, store).metric
        found[name] = own_task(name, f"lmms-eval's {task.path}", metric, IMAGE_NAME)
    return found


def own_counts(settings: EvaluationSpec, split: Split) -> dict[str, int]:
    """Questions of one split of each file of questions, by the task's name."""
    found = {}
    for name, file in vqa_files(settings).items():
        images = read_vqa(file, settings.image_folder).image_ids
        found[name] = len(own_rows(name, images, split, settings))
    return found


def own_contents(settings: EvaluationSpec) -> dict[str, str]:
    """Digests of all that the user's own tasks read, by the task's name."""
    files, tasks = vqa_files(settings), chosen_yaml(settings)
    found = {name: read_vqa(file, settings.image_folder).digest for name, file in files.items()}
    return found | {name: task.digest for name, task in tasks.items()}


def own_files(
    settings: EvaluationSpec, split: Split, folder: Path, cache: Path, store: Store
) -> dict[str, str]:
    """Task files of the settings' own tasks, by name.

    Args:
        settings: tasks, and how images are shared out and ordered.
        split: whose questions are asked.
        folder: where questions are laid down as lmms-eval reads them.
        cache: where `datasets` may keep its form of them.
        store: where looks at tasks are kept.

    Raises:
        ValueError: a task does not fit, or has no question on this split.
    """
    files = vqa_task_files(settings, split, folder, cache)
    for name, task in chosen_yaml(settings).items():
        look = look_at(task, store)
        rows = own_rows(name, look.images, split, settings)
        files |= yaml_task_files(task, look, rows)
    return files


def own_version(settings: EvaluationSpec, name: str) -> dict[str, object]:
    """What the scores of an own task depend on besides the model, the split and its limit."""
    return {
        "code": [file_digest(TEMPLATE / file) for file in COPIED],
        "data": own_contents(settings)[name],
        "search_share": settings.search_share,
        "subset_seed": settings.subset_seed,
        "versions": versions("lmms-eval"),
    }


def _check_sides(name: str, images: Sequence[str], settings: EvaluationSpec) -> None:
    for split in ("search", "report"):
        own_rows(name, images, split, settings)
