"""Known lmms-eval tasks as data: chance levels, where samples' scores and images are found.

Torch-free and lmms_eval-free, so that the driver lists and checks task names at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TaskInfo:
    """One lmms-eval task.

    Attributes:
        name: the task's name in lmms-eval.
        about: what is asked, in a few words.
        metric: key of the task's `process_results` that holds a sample's score in [0, 1].
        chance: score of always giving the most frequent answer, 0..100.
        image_key: document column that names the image; None makes each sample its own cluster.
        images: image collection; tasks of one collection share their images' names.
        rows: how logged samples become scores: `sample` (one score each), or `mme` (two reported
            tasks, each a weighted mean over images, on 0..100).
        embedded: whether its data is generated here; other tasks are lmms-eval's own.
    """

    name: str
    about: str
    metric: str
    chance: float | None
    image_key: str | None
    images: str
    rows: Literal["sample", "mme", "unsupported"] = "sample"
    embedded: bool = False


def _tiny(kind: str, about: str, chance: float) -> TaskInfo:
    return TaskInfo(f"tiny_{kind}", about, "accuracy", chance, "image_id", "tiny", embedded=True)


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
        TaskInfo("gqa", "visual reasoning, short answers", "exact_match", None, "imageId", "gqa"),
        TaskInfo(
            "scienceqa_img", "science questions, multiple choice", "exact_match", 36.0, None, "sqa"
        ),
        TaskInfo("pope", "object hallucination", "pope_accuracy", 50.0, "image_source", "coco"),
        # The two scores add accuracy (chance 50) and both-right (chance 25) per image: 37.5 of 100.
        TaskInfo(
            "mme", "perception / 20 and cognition / 8", "mme", 37.5, "question_id", "mme", "mme"
        ),
        TaskInfo(
            "mmmu_val", "college-level subjects", "mmmu_acc", 25.0, "id", "mmmu", "unsupported"
        ),
    )
}


def available_tasks() -> dict[str, TaskInfo]:
    """Every known task by name, the embedded ones first."""
    return dict(TASKS)


def embedded_tasks() -> tuple[str, ...]:
    """Names of the tasks whose data is generated here: the default of an empty task list."""
    return tuple(name for name, info in TASKS.items() if info.embedded)


def check_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """The given task names; an empty list means the embedded ones.

    Raises:
        ValueError: a name is unknown, given twice, or cannot be scored per sample yet.
    """
    given = tuple(names) or embedded_tasks()
    for name in given:
        if name not in TASKS:
            near = difflib.get_close_matches(name, TASKS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown task {name!r}{hint} Known tasks: {', '.join(TASKS)}.")
        if TASKS[name].rows == "unsupported":
            raise ValueError(
                f"task {name!r} is scored as a whole by lmms-eval, so its standard error is not "
                f"known here; leave it out of evaluation.tasks"
            )
    if len(set(given)) != len(given):
        raise ValueError(f"evaluation.tasks={given} names a task twice; name each once")
    return given
