"""What is known of a user's own tasks."""

from collections.abc import Sequence

from trainables.evaluation.benchmarks.benchmark import TaskInfo
from trainables.evaluation.benchmarks.splits import split_rows
from trainables.specs import EvaluationSpec, Split

COLLECTION = "own"  # one for all: a picture in two files is on the same side of the split
SCORE, IMAGE_ID = "score", "image_id"


def own_task(name: str, about: str, metric: str = SCORE, image_key: str = IMAGE_ID) -> TaskInfo:
    """The task of that name; its chance follows from its targets when they are read."""
    return TaskInfo(
        name=name,
        about=about,
        metric=metric,
        collection=COLLECTION,
        image_key=image_key,
        own=True,
        licence="your own",
    )


def own_rows(
    name: str, images: Sequence[str], split: Split, settings: EvaluationSpec
) -> tuple[int, ...]:
    """All rows of one split of an own task, by its rows' pictures.

    Raises:
        ValueError: there are none.
    """
    share, seed = settings.search_share, settings.subset_seed
    return split_rows(name, COLLECTION, images, split, share, seed)
