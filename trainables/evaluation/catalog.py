"""Known lmms-eval tasks: those whose data is generated here, and the public benchmarks.

Torch-free and lmms_eval-free, so that the driver lists and checks task names at once.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path

from trainables.embedded.sources import (
    DEFAULT_SOURCE,
    SOURCES,
    EmbeddedSource,
    embedded_task,
    source_of,
)
from trainables.evaluation.benchmarks.benchmark import BENCHMARKS, IMAGE_NAME, TaskInfo
from trainables.evaluation.benchmarks.installed import why_unsupported
from trainables.evaluation.own.task_info import own_task
from trainables.evaluation.own.task_yaml import chosen_yaml, yaml_tasks
from trainables.evaluation.own.vqa_file import vqa_file
from trainables.records.evaluation import OWN_SCALE
from trainables.specs import EvaluationSpec


def _embedded(name: str, source: EmbeddedSource) -> list[TaskInfo]:
    return [
        TaskInfo(
            name=embedded_task(name, kind),
            about=asked.about,
            metric="accuracy",
            chance=asked.chance,
            collection=name,
            image_key="image_id",
            embedded=True,
            licence=source.licence,
        )
        for kind, asked in source.kinds.items()
    ]


TASKS: dict[str, TaskInfo] = {
    info.name: info
    for info in (
        *(info for name, source in SOURCES.items() for info in _embedded(name, source)),
        *BENCHMARKS.values(),
    )
}


def embedded_tasks(source: str = DEFAULT_SOURCE) -> tuple[str, ...]:
    """The tasks that an embedded model brings along."""
    return tuple(embedded_task(source, kind) for kind in SOURCES[source].kinds)


def with_own_tasks(settings: EvaluationSpec, model: str) -> EvaluationSpec:
    """The settings, which name the embedded model's own tasks where they name none.

    Those of `tiny`, and of a model that brings none along, stay an empty list.
    """
    source = source_of(model)
    if settings.tasks or settings.task_folders or source == DEFAULT_SOURCE:
        return settings
    return settings.model_copy(update={"tasks": embedded_tasks(source)})


def task_of(reported: str) -> TaskInfo | None:
    """The task of this catalog that a reported score is of: mostly of the same name.

    `mme` is reported as two. None for a user's own task, and for one of another version of this
    project, in a table that it left.
    """
    return TASKS.get(reported.split("_")[0] if reported in OWN_SCALE else reported)


def reported_tasks(settings: EvaluationSpec) -> tuple[str, ...]:
    """The names under which the tasks have scores; see `asked_tasks`.

    Of a sweep that was run elsewhere the folders of tasks need not be here.
    """
    if not all(Path(folder).exists() for folder in settings.task_folders):
        return settings.tasks
    found: list[str] = []
    for name, info in asked_tasks(settings).items():
        found += [part for part in OWN_SCALE if task_of(part) is info] or [name]
    return tuple(found)


def asked_tasks(settings: EvaluationSpec) -> dict[str, TaskInfo]:
    """The tasks that are asked, by name; an empty list means those of `tiny`.

    Of files of questions only the names are looked at; `check_own` reads them.

    Raises:
        ValueError: a name is unknown, given twice, or of a task that only a judge can score.
    """
    own = chosen_yaml(settings)
    given = settings.tasks or tuple(own) or embedded_tasks()
    found: dict[str, TaskInfo] = {}
    for task in given:
        info = TASKS.get(task)
        if info is None and (file := vqa_file(task)) is not None:
            info = own_task(file.name, f"questions of {file.path}")
        if info is None and task in own:
            info = own_task(task, f"lmms-eval's {own[task].path}", image_key=IMAGE_NAME)
        if info is None:
            raise ValueError(_unknown(task, [*TASKS, *yaml_tasks(settings)]))
        if info.name in found or (info.name in TASKS and info.name != task):
            raise ValueError(
                f"evaluation.tasks={given} names a task twice ({info.name!r}); name each once, "
                "and each file of questions like no other task"
            )
        found[info.name] = info
    return found


def _unknown(name: str, valid: Sequence[str]) -> str:
    reason = why_unsupported(name)
    near = difflib.get_close_matches(name, valid, n=1)
    near += [known for known in valid if known.startswith(name)]  # `mathvista`
    return (
        f"unknown task {name!r}{f' ({reason})' if reason else ''}"
        f"{f'; did you mean {near[0]!r}?' if near else '.'} "
        f"Known tasks: {', '.join(valid)}; or name a file of questions (.json, .jsonl, .parquet)."
    )
