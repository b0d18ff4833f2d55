"""What is known of a user's own tasks."""

from trainables.evaluation.benchmarks.benchmark import TaskInfo

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
