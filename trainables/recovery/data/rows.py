"""One row of a conversation file as a checked sample; what is wrong with it, by kind and id."""

from typing import Any, Literal, NamedTuple

HUMAN, ASSISTANT = "human", "gpt"
IMAGE_MARK = "<image>"

Fault = Literal[
    "no object",
    "no conversations",
    "wrong speakers",
    "empty answer",
    "video",
    "image path",
    "image marks",
    "image outside its folder",
    "missing image",
    "unreadable image",
    "too long",
    "cannot be encoded",
]


class Broken(NamedTuple):
    """What is wrong with a sample."""

    fault: Fault
    sample: str
    message: str


class BrokenSampleError(ValueError):
    """A sample that cannot be used; `Broken` is its args, so it comes whole out of a worker."""

    def __init__(self, fault: Fault, sample: str, message: str) -> None:
        super().__init__(fault, sample, message)
        self.broken = Broken(fault, sample, message)

    def __str__(self) -> str:
        return self.broken.message


class Sample(NamedTuple):
    """A row: id, image paths as written, and the turns, as many questions as answers."""

    id: str
    images: list[str]
    questions: list[str]
    answers: list[str]


def parse_row(row: Any, number: int) -> Sample:
    """The sample that a row describes; looks at no file.

    Args:
        row: decoded JSON; `id` may be a string or a number, `image` a path, a list of paths, or
            absent, null or empty for text alone. Other keys are left alone.
        number: of the row in its file, the id of a row without one.

    Raises:
        BrokenSampleError: names the sample and what is wrong with it.
    """
    if not isinstance(row, dict):
        message = f"row {number} is a {type(row).__name__}, but must be an object"
        raise BrokenSampleError("no object", f"row {number}", message)
    given = row.get("id")
    name = f"row {number}" if given is None else str(given)
    if row.get("video"):
        message = f"sample {name!r} shows a video, and only images are supported; leave it out"
        raise BrokenSampleError("video", name, message)
    images = _images(row.get("image"), name)
    questions, answers = _turns(row.get("conversations"), name)
    _check_marks(len(images), questions, answers, name)
    return Sample(name, images, questions, answers)


def _images(given: Any, name: str) -> list[str]:
    if given is None or given == "":
        return []
    paths = given if isinstance(given, list) else [given]
    if not all(isinstance(path, str) and path for path in paths):
        message = f"sample {name!r}: `image` is {given!r}, but must be a path or a list of paths"
        raise BrokenSampleError("image path", name, message)
    return paths


def _turns(messages: Any, name: str) -> tuple[list[str], list[str]]:
    if not isinstance(messages, list) or not messages:
        message = f"sample {name!r} has no `conversations`"
        raise BrokenSampleError("no conversations", name, message)
    speakers = [m.get("from") if isinstance(m, dict) else None for m in messages]
    if speakers != [HUMAN, ASSISTANT] * (len(messages) // 2) or len(messages) % 2:
        raise BrokenSampleError(
            "wrong speakers",
            name,
            f"sample {name!r}: turns are {speakers}, but must alternate {HUMAN!r}, {ASSISTANT!r} "
            "and end with an answer",
        )
    values = [str(m.get("value") or "").strip() for m in messages]
    questions, answers = values[0::2], values[1::2]
    if not all(answers):
        raise BrokenSampleError("empty answer", name, f"sample {name!r} has an empty answer")
    return questions, answers


def _check_marks(images: int, questions: list[str], answers: list[str], name: str) -> None:
    """Every image has its mark, in a question; one image alone needs none, and then comes first."""
    asked, answered = (sum(t.count(IMAGE_MARK) for t in texts) for texts in (questions, answers))
    if answered or (asked != images and not (asked == 0 and images == 1)):
        raise BrokenSampleError(
            "image marks",
            name,
            f"sample {name!r} has {images} images, but {asked} {IMAGE_MARK} marks in its "
            f"questions and {answered} in its answers; every image needs one mark in a question",
        )
