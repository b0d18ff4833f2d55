"""Files of questions about pictures: JSON, JSON lines or parquet, checked row by row. Torch-free.

A row has `image` (a path, or the picture itself in parquet), `question`, `answer` or `answers`, and
may have `options` (what is chosen from) and `metric` (one for the whole file).
"""

import functools
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any

from trainables.common.contents import file_digest
from trainables.common.names import first_line, unknown
from trainables.common.pictures import read_picture
from trainables.specs import EvaluationSpec, Frozen, digest

ENDINGS = (".json", ".jsonl", ".parquet")
METRICS = {
    "exact": "the whole answer is one of the right ones, but for case, blanks and a full stop",
    "contains": "a right answer stands in it, as whole words",
    "vqa": "the VQA score: of ten people three agree (at least four answers a question)",
    "anls": "edit distance to the nearest right answer, as DocVQA counts it",
    "relaxed": "within 5 % of a number, else exact, as ChartQA counts it",
    "choice": "the letter of an option, or its text",
}
# How many times as long as the longest right answer one that scores may be; see `TaskInfo`. A
# number that is near may have more digits; what contains an answer may be of any length.
ANSWER_LENGTHS = {"exact": 1, "vqa": 1, "choice": 1, "anls": 2, "relaxed": 4, "contains": 0}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FEWEST_PEOPLE = 4  # of whom each is compared with the others, and three have to agree
HEAD = 2**20  # characters in which the first row's keys stand
FIRST_ROWS = 8  # whose pictures are decoded before a sweep; `data check` decodes all


class VqaFile(Frozen):
    """A file of questions as `tasks` names it: `PATH` or `PATH:METRIC`."""

    path: str
    metric: str | None = None

    @property
    def name(self) -> str:
        """Of the task: the file's own, without its ending."""
        return re.sub(r"\W", "_", Path(self.path).stem, flags=re.ASCII)


@dataclass(frozen=True)
class VqaQuestion:
    """One row. `image` is a path or the picture's bytes, `image_id` a digest of its content."""

    row: int
    image: Path | bytes
    image_id: str
    question: str
    answers: tuple[str, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class VqaData:
    """The questions of a file, the metric that scores them, and a digest of all that is read."""

    metric: str
    questions: tuple[VqaQuestion, ...]
    digest: str

    @property
    def image_ids(self) -> list[str]:
        """Of each question."""
        return [question.image_id for question in self.questions]


def vqa_file(task: str) -> VqaFile | None:
    """The file that an entry of `tasks` names; None for a name that is no file's.

    Raises:
        ValueError: there is no such metric.
    """
    path, colon, metric = task.rpartition(":")
    if colon and path.lower().endswith(ENDINGS):
        if metric not in METRICS:
            raise ValueError(f"{task}: {unknown('metric of a file of questions', metric, METRICS)}")
        return VqaFile(path=path, metric=metric)
    return VqaFile(path=task) if task.lower().endswith(ENDINGS) else None


def vqa_files(settings: EvaluationSpec) -> dict[str, VqaFile]:
    """The files of questions among the tasks, by the task's name."""
    return {file.name: file for task in settings.tasks if (file := vqa_file(task)) is not None}


def read_vqa(file: VqaFile, image_folder: str | None = None) -> VqaData:
    """The questions of a file; read once per process while it and its pictures stay what they are.

    Args:
        file: what to read, and by which metric.
        image_folder: what its paths of images start from; None is the file's own folder.

    Raises:
        ValueError: it cannot be read, has no questions, or a row does not fit; names the row.
    """
    path, folder = _places(file, image_folder)
    try:
        data = _read(path, file.metric, folder, file_digest(path))
        if all(map(_as_it_was, data.questions)):
            return data
        _read.cache_clear()
        return _read(path, file.metric, folder, file_digest(path))
    except OSError as error:
        raise ValueError(
            f"the file of questions {path} cannot be read ({error.strerror})"
        ) from None


def asks(file: VqaFile) -> bool:
    """Whether a file holds questions; conversations are JSON, too, and may be very long."""
    if file.metric is not None or file.path.lower().endswith(".parquet"):
        return True
    try:
        with open(file.path, encoding="utf-8", errors="replace") as opened:
            first = re.search(r'"(conversations|question)"\s*:', opened.read(HEAD))
    except OSError:
        return False
    return first is not None and first[1] == "question"


def vqa_faults(file: VqaFile, image_folder: str | None = None) -> tuple[int, str, list[str]]:
    """Rows and metric of a file, and a sentence for each fault; all pictures are decoded.

    Args:
        file: what to read.
        image_folder: as in `read_vqa`.

    Raises:
        ValueError: nothing of it can be read.
    """
    path, folder = _places(file, image_folder)
    rows = list(_rows(path))
    metric = _metric(path, file.metric, rows)
    seen: set[str] = set()
    faults = []
    for number, row in enumerate(rows):
        try:
            question = _question(path, number, row, metric, folder)
            if question.image_id not in seen:
                seen.add(question.image_id)
                picture(question)
        except ValueError as error:
            faults.append(f"row {number} of {path}: {error}")
    misfit = None if faults else _misfit(path, metric, rows)
    return len(rows), metric, faults + ([misfit] if misfit else [])


def picture(question: VqaQuestion) -> Any:
    """What is seen of a question's picture, as RGB (see `pictures`).

    Raises:
        ValueError: it cannot be decoded; says which.
    """
    image = question.image
    name = "the image" if isinstance(image, bytes) else f"image {str(image)!r}"
    try:
        return read_picture(io.BytesIO(image) if isinstance(image, bytes) else image)
    except (ValueError, OSError) as error:
        raise ValueError(f"{name} cannot be read ({first_line(error)})") from None


def _places(file: VqaFile, image_folder: str | None) -> tuple[Path, Path]:
    """The file, and the folder that its paths of images start from."""
    path = Path(file.path)
    return path, Path(image_folder) if image_folder is not None else path.parent


def _as_it_was(question: VqaQuestion) -> bool:
    image = question.image
    return isinstance(image, bytes) or (image.is_file() and _image_id(image) == question.image_id)


@functools.lru_cache(maxsize=8)
def _read(path: Path, metric: str | None, folder: Path, content: str) -> VqaData:
    rows = list(_rows(path))
    found = _metric(path, metric, rows)
    questions = []
    for number, row in enumerate(rows):
        try:
            questions.append(_question(path, number, row, found, folder))
            if number < FIRST_ROWS:
                picture(questions[-1])
        except ValueError as error:
            named = f"{path}:{metric}" if metric else path
            named = named if folder == path.parent else f"{named} --image-folder {folder}"
            raise ValueError(
                f"row {number} of {path}: {error}; `prunesweep data check {named}` lists all faults"
            ) from None
    if fault := _misfit(path, found, rows):
        raise ValueError(fault)
    pictures = [question.image_id for question in questions]
    return VqaData(found, tuple(questions), digest([content, found, pictures]))


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a file.

    Raises:
        ValueError: it is of no known format, or has none.
    """
    try:
        rows = _parquet(path) if path.suffix.lower() == ".parquet" else _json(path)
    except OSError as error:
        raise ValueError(f"the file of questions {path} cannot be read ({error})") from None
    if not isinstance(rows, list) or not rows:
        raise ValueError(
            f"{path} has no questions; it must be a list of rows with `image`, `question` and "
            "`answer`"
        )
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(
                f"row {number} of {path} is {short(row)}, but a row is an object with `image`, "
                "`question` and `answer`"
            )
        yield row


def _json(path: Path) -> Any:
    try:
        text = path.read_text("utf-8-sig")
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            if text.lstrip().startswith("["):
                raise
            return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(
            f"{path} is neither JSON nor JSON lines ({first_line(error)}); is it truncated?"
        ) from None


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        columns = ("image", "question", "answer", "answers", "options", "metric")
        return pq.read_table(path, columns=[c for c in columns if c in names]).to_pylist()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is no readable parquet file ({first_line(error)})") from None


def _metric(path: Path, given: str | None, rows: list[Mapping[str, Any]]) -> str:
    """The metric of a file: as it was asked for, as its rows say, `choice` where there are options.

    Raises:
        ValueError: the rows name several, or one that there is not.
    """
    named = list(dict.fromkeys(row["metric"] for row in rows if row.get("metric") is not None))
    if len(named) > 1:
        raise ValueError(
            f"{path} names the metrics {', '.join(map(str, named))}, but a file is scored by one; "
            "make a file of each"
        )
    if named and named[0] not in METRICS:
        raise ValueError(f"{path}: {unknown('metric of a file of questions', named[0], METRICS)}")
    choice = any(row.get("options") for row in rows)
    return given or (named[0] if named else "choice" if choice else "exact")


def _misfit(path: Path, metric: str, rows: list[Mapping[str, Any]]) -> str | None:
    """Why the metric does not fit the file as a whole; None if it does."""
    if metric == "relaxed" and not any(_is_number(a) for row in rows for a in _answers(row)):
        return f"{path}: none of its answers is a number, so metric 'relaxed' does not fit it"
    return None


def _is_unicode(text: str) -> bool:
    """Whether it has no lone surrogate, which JSON can write and nothing else can."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text.removesuffix("%")))
    except ValueError:
        return False


def _question(
    path: Path, number: int, row: Mapping[str, Any], metric: str, folder: Path
) -> VqaQuestion:
    """A row as a question.

    Raises:
        ValueError: it does not fit; says why, without the row.
    """
    text = row.get("question")
    if not isinstance(text, str) or not text.strip() or not _is_unicode(text):
        raise ValueError(f"its question is {short(text)}, but must be a text")
    answers = _answers(row)
    options = _texts("option", row.get("options") or ())
    if options and metric != "choice":
        raise ValueError(
            f"it has options, which metric {metric!r} does not ask with; use `{path}:choice`"
        )
    if metric == "vqa" and len(answers) < FEWEST_PEOPLE:
        raise ValueError(
            f"metric 'vqa' compares the answers of several people, at least {FEWEST_PEOPLE} a "
            f"question, and it has {len(answers)}; 'exact' takes one"
        )
    if metric == "choice":
        answers = tuple(_letter(answer, options) for answer in answers)
    image, image_id = _image(row.get("image"), folder)
    return VqaQuestion(number, image, image_id, text.strip(), answers, options)


def _letter(answer: str, options: tuple[str, ...]) -> str:
    """The letter of the option that an answer names."""
    letters = LETTERS[: len(options)] if options else LETTERS
    if len(answer) == 1 and answer.upper() in letters:
        return answer.upper()
    places = [i for i, option in enumerate(options) if option.lower() == answer.lower()]
    if not places:
        rest = f"none of the options {', '.join(options)}" if options else "it has no `options`"
        raise ValueError(
            f"its answer {short(answer)} is no letter of {letters[0]} to {letters[-1]}, and {rest}"
        )
    return LETTERS[places[0]]


def _answers(row: Mapping[str, Any]) -> tuple[str, ...]:
    given = row.get("answers")
    given = row.get("answer") if given is None else given
    if given is None or given == []:
        raise ValueError("it has no answer; give `answer`, or a list of `answers`")
    return _texts("answer", given if isinstance(given, list) else [given])


def _texts(what: str, given: Any) -> tuple[str, ...]:
    """Texts and numbers as texts; an object's `answer`, as in VQA's own files."""
    texts = []
    for value in given:
        plain = value.get("answer", value) if isinstance(value, dict) else value
        text = plain.strip() if isinstance(plain, str) else ""
        if isinstance(plain, int | float) and not isinstance(plain, bool):
            text = str(plain) if math.isfinite(plain) else ""
        if not text or not _is_unicode(text):
            raise ValueError(
                f"its {what} is {short(plain)} ({type(plain).__name__}), but must be a text or a "
                "number"
            )
        texts.append(text)
    return tuple(texts)


def _image_id(path: Path) -> str:
    return file_digest(path)[:16]


def _image(given: Any, folder: Path) -> tuple[Path | bytes, str]:
    """Where a picture is, or its bytes, and a digest of its content."""
    if isinstance(given, dict):  # as `datasets` writes pictures
        given = given.get("bytes") or given.get("path")
    if isinstance(given, bytes):
        return given, hashlib.sha256(given).hexdigest()[:16]
    if not isinstance(given, str) or not given:
        raise ValueError(f"its image is {short(given)}, but must be a path")
    if "\0" in given:
        raise ValueError(f"its image path {short(given)} holds a NUL character")
    base = Path(os.path.realpath(folder))
    path = Path(os.path.realpath(base / given))
    if not path.is_relative_to(base):
        raise ValueError(
            f"image path {short(given)} leaves the folder {base}; give the folder that paths start "
            "from as evaluation.image_folder"
        )
    try:
        return path, _image_id(path)
    except OSError as error:
        raise ValueError(f"image {given!r} is not in {base} ({error.strerror})") from None
