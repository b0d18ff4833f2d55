"""Known lmms-eval tasks: those whose data is generated here, and the public benchmarks.

Torch-free and lmms_eval-free, so that the driver lists and checks task names at once.
"""

import difflib
from collections.abc import Iterable

from trainables.embedded.sources import SOURCES, EmbeddedSource
from trainables.evaluation.benchmarks.benchmark import BENCHMARKS, TaskInfo
from trainables.evaluation.benchmarks.installed import why_unsupported
from trainables.records.evaluation import OWN_SCALE


def embedded_task(source: str, kind: str) -> str:
    """Name of the task of one kind of an embedded model's questions."""
    return f"{source}_{kind}"


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


def embedded_tasks(source: str = "tiny") -> tuple[str, ...]:
    """The tasks that an embedded model brings along; `tiny`'s are those of an empty list."""
    return tuple(embedded_task(source, kind) for kind in SOURCES[source].kinds)


def task_of(reported: str) -> TaskInfo | None:
    """The task that a reported score is of: mostly of the same name, but `mme` is reported as two.

    None for a task of another version of this project, in a table that it left.
    """
    return TASKS.get(reported) or TASKS.get(reported.split("_")[0])


def reported_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """The names under which the given tasks have scores; see `check_tasks`."""
    found: list[str] = []
    for name in check_tasks(names):
        found += [part for part in OWN_SCALE if task_of(part) is TASKS[name]] or [name]
    return tuple(found)


def check_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """The given task names; an empty list means the embedded ones.

    Raises:
        ValueError: a name is unknown, given twice, or of a task that only a judge can score.
    """
    given = tuple(names) or embedded_tasks()
    for name in given:
        if name not in TASKS:
            reason = why_unsupported(name)
            near = difflib.get_close_matches(name, TASKS, n=1)
            near += [known for known in TASKS if known.startswith(name)]  # `mathvista`
            raise ValueError(
                f"unknown task {name!r}{f' ({reason})' if reason else ''}"
                f"{f'; did you mean {near[0]!r}?' if near else '.'} "
                f"Known tasks: {', '.join(TASKS)}."
            )
    if len(set(given)) != len(given):
        raise ValueError(f"evaluation.tasks={given} names a task twice; name each once")
    return given
