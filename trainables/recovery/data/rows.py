"""One row of a conversation file as a checked sample; what is wrong with it, by kind and id."""

import json
import math
import re
from collections.abc import Mapping
from reprlib import repr as short
from typing import Any, Literal, NamedTuple

HUMAN, ASSISTANT = "human", "gpt"
IMAGE_MARK = "<image>"
LONGEST_NAME = 200  # characters of an id

Fault = Literal[
    "no JSON",
    "no object",
    "no conversations",
    "wrong speakers",
    "empty answer",
    "no text",
    "invalid text",
    "video",
    "image path",
    "other image keys",
    "image marks",
    "image outside its folder",
    "missing image",
    "unreadable image",
    "special tokens",
    "chat template",
    "too long",
    "cannot be encoded",
]

# Keys of rows in other formats.
FOREIGN = ("messages", "annotation", "caption", "text")
# Keys that may hold pictures or films: a row must not become text alone because of its key's name.
_SHOWS = re.compile(
    r"image|img|picture|photo|video|screenshot"
    r"|(?<![a-z])(?:audio|clip|frame|media|pixel|visual)s?(?![a-z])",
    re.IGNORECASE,
)
_FILM = re.compile(r"(?:video|audio)s?", re.IGNORECASE)
_ANOTHER_IMAGE = re.compile(r"images|(?:image|img|picture|photo)s?_?\d+", re.IGNORECASE)
# How other formats mark the place of a picture or a film in a question.
_OTHER_MARK = re.compile(
    r"<\|?(?:image|img|picture|video|audio)(?:[ _-]?(?:\d+|here|pad|token|placeholder))?\|?>"
    r"|<img>.*?</img>|\[IMG\]",
    re.IGNORECASE | re.DOTALL,
)
_NAMES_A_PICTURE = re.compile(r"\s*(?:picture|image|video|frame)[ -]?\d+\s*:", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")


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


class Damaged(NamedTuple):
    """A row that is no JSON, in a file that goes on behind it; its id where that can be read."""

    id: str | None
    reason: str


class Sample(NamedTuple):
    """A row: id, image paths as written, and the turns, as many questions as answers."""

    id: str
    images: list[str]
    questions: list[str]
    answers: list[str]


def parse_row(row: Any, number: int) -> Sample:
    """The sample that a row describes; looks at no file.

    Args:
        row: decoded JSON; `id` may be a string or a number, `image` (or `images`) a path, a list of
            paths, or absent, null or empty for text alone. Numbers and truth values are texts as
            JSON writes them. Other keys are left alone, unless they may hold pictures that nobody
            would see.
        number: of the row in its file, the id of a row without one.

    Raises:
        BrokenSampleError: names the sample and what is wrong with it.
    """
    if isinstance(row, Damaged):
        name = f"row {number}" if row.id is None else _name(row.id)
        raise BrokenSampleError("no JSON", name, f"sample {name!r} is no JSON ({row.reason})")
    if not isinstance(row, dict):
        message = f"row {number} is a {type(row).__name__}, but must be an object"
        raise BrokenSampleError("no object", f"row {number}", message)
    given = row.get("id")
    if isinstance(given, dict | list):
        message = f"row {number}: `id` is {short(given)}, but must be a text or a number"
        raise BrokenSampleError("no text", f"row {number}", message)
    name = f"row {number}" if given is None else _name(str(given))
    _check_text(str(given), "id", name)
    images = _images(row, name)
    questions, answers = _turns(row, name)
    _check_marks(len(images), questions, answers, name)
    return Sample(name, images, questions, answers)


def _name(given: str) -> str:
    """An id that can be printed on one line."""
    name = given if given.isprintable() else given.encode("unicode_escape").decode()
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."


def _check_text(text: str, what: str, name: str) -> None:
    if _SURROGATE.search(text):
        message = (
            f"sample {name!r}: its {what} is no text: it has an unpaired surrogate, or a byte that "
            "is not UTF-8"
        )
        raise BrokenSampleError("invalid text", name, message)


def _images(row: Mapping[str, Any], name: str) -> list[str]:
    given = row.get("image")
    key = "image" if given or "images" not in row else "images"
    for other, value in row.items():
        if _FILM.fullmatch(other) and value:
            message = f"sample {name!r} shows a video (`{other}`), and only images are supported"
            raise BrokenSampleError("video", name, f"{message}; leave it out")
        lost = _ANOTHER_IMAGE.fullmatch(other) if row.get(key) else _SHOWS.search(other)
        if lost and other != key and _says_something(value) and value != [given]:
            raise BrokenSampleError(
                "other image keys",
                name,
                f"sample {name!r} has {short(other)}, but images are read from `image` (or "
                "`images`) alone; rename the key, or take it out",
            )
    paths = row.get(key)
    if paths is None or paths == "" or paths == []:
        return []
    paths = paths if isinstance(paths, list) else [paths]
    if not all(isinstance(path, str) and path for path in paths):
        message = (
            f"sample {name!r}: `{key}` is {short(row[key])}, but must be a path or a list of paths"
        )
        raise BrokenSampleError("image path", name, message)
    for path in paths:
        _check_text(path, "image path", name)
        if "\0" in path:
            message = f"sample {name!r}: image path {short(path)} holds a NUL, as no path can"
            raise BrokenSampleError("image path", name, message)
    return paths


def _says_something(value: Any) -> bool:
    """Whether there is a text in a value that might be a path, an address or a picture itself."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and value:
            return True
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
    return False


def _turns(row: Mapping[str, Any], name: str) -> tuple[list[str], list[str]]:
    messages = row.get("conversations")
    if not isinstance(messages, list) or not messages:
        found = next((f"`{key}`, but " for key in FOREIGN if key in row), "")
        message = f"sample {name!r} has {found}no `conversations`"
        raise BrokenSampleError("no conversations", name, message)
    values = [
        _value(message, (HUMAN, ASSISTANT)[turn % 2], turn + 1, name)
        for turn, message in enumerate(messages)
    ]
    if len(values) % 2:
        message = f"sample {name!r} has {len(values)} turns, but must end with an answer"
        raise BrokenSampleError("wrong speakers", name, message)
    questions, answers = values[0::2], values[1::2]
    if not all(answers):
        raise BrokenSampleError("empty answer", name, f"sample {name!r} has an empty answer")
    return questions, answers


def _value(message: Any, speaker: str, turn: int, name: str) -> str:
    """The text of a turn, stripped."""
    what = f"sample {name!r}: turn {turn}"
    said_by = message.get("from") if isinstance(message, dict) else None
    if said_by != speaker:
        raise BrokenSampleError(
            "wrong speakers",
            name,
            f"{what} is from {short(said_by)}, not {speaker!r}: turns must alternate {HUMAN!r}, "
            f"{ASSISTANT!r} and end with an answer",
        )
    for key, value in message.items():
        if _SHOWS.search(key) and _says_something(value):
            text = f"{what} has {short(key)}, but images are read from the row's `image` alone"
            raise BrokenSampleError("other image keys", name, text)
    value = message.get("value")
    if value is None and speaker == ASSISTANT:
        return ""
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        value = json.dumps(value)
    if not isinstance(value, str):
        text = f"{what}: `value` is {short(value)}, but must be a text, a number, true or false"
        raise BrokenSampleError("no text", name, text)
    _check_text(value, f"turn {turn}", name)
    return value.strip()


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
    for question in questions:
        found = _OTHER_MARK.search(question.replace(IMAGE_MARK, ""))
        if not (found or images):
            found = _NAMES_A_PICTURE.match(question)
        if found:
            film = re.search("video|audio", found[0], re.IGNORECASE)
            raise BrokenSampleError(
                "video" if film else "image marks",
                name,
                f"sample {name!r}: a question has {short(found[0])}, but only images are shown, "
                f"each where a mark {IMAGE_MARK} stands, from the row's `image`",
            )
