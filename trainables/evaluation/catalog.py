"""Known lmms-eval tasks as data: chance levels, where samples' scores and images are found.

Torch-free and lmms_eval-free, so that the driver lists and checks task names at once.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from trainables.evaluation.benchmarks.benchmark import BENCHMARKS, IMAGE_NAME, Benchmark
from trainables.evaluation.benchmarks.installed import why_unsupported


@dataclass(frozen=True)
class TaskInfo:
    """One lmms-eval task.

    Attributes:
        name: the task's name in lmms-eval.
        about: what is asked, in a few words.
        metric: key of the task's `process_results` that holds a sample's score.
        chance: score of always giving the most frequent answer, 0..100.
        top: the best score that there can be.
        image_key: document column that names the image.
        images: image collection; tasks of one collection share their images' names.
        rows: how logged samples become scores: `sample` (the metric itself, in [0, 1]), `mmmu`,
            `mathvista` and `cider` (what lmms-eval's aggregation makes of it), or `mme` (two
            reported tasks, each a weighted mean over images, on 0..100).
        embedded: whether its data is generated here; other tasks are lmms-eval's own, and need a
            local copy of their data.
        licence: of the data.
        needs: programs or packages that scoring needs.
    """

    name: str
    about: str
    metric: str
    chance: float | None
    image_key: str
    images: str
    rows: Literal["sample", "mme", "mmmu", "mathvista", "cider"] = "sample"
    embedded: bool = False
    licence: str = "Apache-2.0, generated here"
    needs: tuple[str, ...] = field(default=())

    @property
    def top(self) -> float:
        """CIDEr goes to 10 and is reported times 100; good captions score above 100."""
        return 1000.0 if self.rows == "cider" else 100.0

    @property
    def scores(self) -> int:
        """Reported tasks that this one counts as in an average."""
        return 2 if self.rows == "mme" else 1

    @property
    def alone(self) -> bool:
        """Whether a sample's score depends on that sample alone, not on those scored with it."""
        return self.rows != "cider"


def _tiny(kind: str, about: str, chance: float) -> TaskInfo:
    return TaskInfo(f"tiny_{kind}", about, "accuracy", chance, "image_id", "tiny", embedded=True)


def _public(known: Benchmark) -> TaskInfo:
    return TaskInfo(
        known.name,
        known.about,
        known.metric,
        known.chance,
        IMAGE_NAME,
        known.collection,
        known.rows,
        licence=known.licence,
        needs=known.needs,
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
        *(_public(benchmark) for benchmark in BENCHMARKS.values()),
    )
}


def available_tasks() -> dict[str, TaskInfo]:
    """Every known task by name, the embedded ones first."""
    return dict(TASKS)


def embedded_tasks() -> tuple[str, ...]:
    """Names of the tasks whose data is generated here: the default of an empty task list."""
    return tuple(name for name, info in TASKS.items() if info.embedded)


def task_of(reported: str) -> TaskInfo | None:
    """The task that a reported score is of: mostly of the same name, but `mme` is reported as two.

    None for a task of another version of this project, in a table that it left.
    """
    return TASKS.get(reported) or TASKS.get(reported.split("_")[0])


def check_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """The given task names; an empty list means the embedded ones.

    Raises:
        ValueError: a name is unknown, given twice, or of a task that only a judge can score.
    """
    given = tuple(names) or embedded_tasks()
    for name in given:
        if name not in TASKS:
            reason = why_unsupported(name)
            near = [*difflib.get_close_matches(name, TASKS, n=1), *_beginning(name)]
            raise ValueError(
                f"unknown task {name!r}{f' ({reason})' if reason else ''}"
                f"{f'; did you mean {near[0]!r}?' if near else '.'} "
                f"Known tasks: {', '.join(TASKS)}."
            )
    if len(set(given)) != len(given):
        raise ValueError(f"evaluation.tasks={given} names a task twice; name each once")
    return given


def _beginning(name: str) -> list[str]:
    """Tasks whose name goes on after this one, as `mathvista` does."""
    return [known for known in TASKS if known.startswith(name)]
