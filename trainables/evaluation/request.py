"""What is asked of a model: which questions, how many, with which settings."""

from pathlib import Path

from pydantic import Field

from trainables.evaluation.benchmarks.benchmark import TaskInfo
from trainables.evaluation.catalog import TASKS
from trainables.specs import Frozen, Split


class EvaluationRequest(Frozen):
    """The questions of one evaluation; the same for every model that is asked them.

    Attributes:
        tasks: lmms-eval task names.
        split: which split the data is of.
        task_folder: task files of that split, from `write_task_files`.
        limit: the first so many samples of each task; None is all. The files of a public benchmark
            hold no more samples than were asked for.
        batch_size: questions answered together; fewer where memory runs out.
        max_new_tokens: overrides the tasks' own answer lengths.
        blank_images: show a grey image of the same size in place of each image.
        own: what is known of the user's own tasks.
    """

    tasks: tuple[str, ...]
    split: Split
    task_folder: Path
    limit: int | None = None
    batch_size: int = 32
    max_new_tokens: int | None = None
    blank_images: bool = False
    own: dict[str, TaskInfo] = Field(default_factory=dict)

    def info(self, task: str) -> TaskInfo:
        """What is known of one of the tasks."""
        return self.own.get(task) or TASKS[task]
