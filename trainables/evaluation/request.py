"""What is asked of a model: which questions, how many, with which settings."""

from pathlib import Path

from trainables.specs import Frozen, Split


class EvaluationRequest(Frozen):
    """The questions of one evaluation; the same for every model that is asked them.

    Attributes:
        tasks: lmms-eval task names; none means the embedded ones.
        split: which split the data is of.
        task_folder: task files of that split, from `write_task_files`.
        limit: the first so many samples of each embedded task; None is all. The files of a public
            benchmark hold no more samples than were asked for.
        batch_size: questions answered together; fewer where memory runs out.
        max_new_tokens: overrides the tasks' own answer lengths.
        blank_images: show a grey image of the same size in place of each image.
    """

    tasks: tuple[str, ...]
    split: Split
    task_folder: Path
    limit: int | None = None
    batch_size: int = 32
    max_new_tokens: int | None = None
    blank_images: bool = False
