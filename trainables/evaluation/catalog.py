"""Known lmms-eval tasks: those whose data is generated here, and the public benchmarks.

Torch-free and lmms_eval-free, so that the driver lists and checks task names at once.
"""

import difflib
from collections.abc import Iterable

from trainables.evaluation.benchmarks.benchmark import BENCHMARKS, TaskInfo
from trainables.evaluation.benchmarks.installed import why_unsupported
from trainables.records.evaluation import OWN_SCALE

EMBEDDED_PREFIX = "tiny_"  # of the names of tasks whose data is generated here


def _tiny(kind: str, about: str, chance: float) -> TaskInfo:
    return TaskInfo(
        name=f"{EMBEDDED_PREFIX}{kind}",
        about=about,
        metric="accuracy",
        chance=chance,
        collection="tiny",
        image_key="image_id",
        embedded=True,
        licence="Apache-2.0, generated here",
    )


# Chance of the embedded kinds: always giving the most frequent answer. The generator keeps a kind's
# answers equally frequent, so it is 100 / number of answers (a test counts them).
TASKS: dict[str, TaskInfo] = {
    info.name: info
    for info in (
        _tiny("attribute", "colour or shape of an object", 100 / 10),
        _tiny("counting", "number of objects", 100 / 5),
        _tiny("existence", "is there such an object (yes / no)", 50.0),
        _tiny("relation", "colour or shape of a place's neighbour", 100 / 10),
        _tiny("choice", "multiple choice by letter", 25.0),
        *BENCHMARKS.values(),
    )
}


def embedded_tasks() -> tuple[str, ...]:
    """Names of the tasks whose data is generated here: the default of an empty task list."""
    return tuple(name for name, info in TASKS.items() if info.embedded)


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
