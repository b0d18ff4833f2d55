"""Local copies of benchmarks: `<data_folder>/<task>/` with parquet files and a card. Torch-free."""

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from trainables.common.names import first_line
from trainables.common.pictures import read_picture
from trainables.evaluation.benchmarks.benchmark import BENCHMARKS, COCO, Benchmark, Kind
from trainables.specs.base import Frozen, digest

CARD = "copy.json"
QUESTIONS, IMAGES = "questions.parquet", "images.parquet"
IMAGE_NAMES = "image_names.json"
_COCO_FILE = re.compile(r"(?:^|/)(?:COCO_[a-z]+\d{4}_)?(\d{12})(?:\.[a-z]+)?$")
DATA_FOLDER = "--set trial.evaluation.data_folder=DIR"  # how a sweep is told where copies lie


class CopyFile(Frozen):
    """One file of a copy."""

    sha256: str
    size_bytes: int


class CopyCard(Frozen):
    """Where a copy comes from and what it holds; written last, so a copy with a card is complete.

    `licence` is what the hub's card said on that day; None where it said nothing.
    """

    task: str
    hub: str
    config: str | None
    split: str
    revision: str | None
    licence: str | None
    rows: int
    columns: dict[str, str]
    files: dict[str, CopyFile]
    fetched: str


@dataclass(frozen=True)
class Copy:
    """A copy that was found complete; `rows` count from 0 in `questions`."""

    benchmark: Benchmark
    folder: Path
    card: CopyCard

    @property
    def questions(self) -> Path:
        """The table of questions."""
        return self.folder / QUESTIONS

    @property
    def images(self) -> Path | None:
        """The table of images, where they lie in one of their own."""
        return self.folder / IMAGES if self.benchmark.images_config else None

    @property
    def digest(self) -> str:
        """Digest of the content of its files, wherever they lie."""
        return digest({name: file.sha256 for name, file in sorted(self.card.files.items())})

    @cached_property
    def image_names(self) -> tuple[str, ...]:
        """Name of each question's image, in the order of the rows."""
        return tuple(json.loads((self.folder / IMAGE_NAMES).read_text("utf-8")))


def find_copy(data_folder: str | Path | None, task: str, option: str = DATA_FOLDER) -> Copy:
    """The copy of a task's data below `data_folder`.

    Args:
        data_folder: folder of copies; None where it was not given.
        task: whose copy.
        option: how the command at hand is given that folder.

    Raises:
        ValueError: there is none, or it is incomplete; the message says how to get one.
    """
    if data_folder is None:
        raise ValueError(
            f"task {task!r} needs a local copy of its data, and no folder of copies is given; run "
            f"`prunesweep data fetch {task} --to DIR` on a machine that reaches the hub, and give "
            f"{option}"
        )
    folder = Path(data_folder) / task
    if not (folder / CARD).is_file():
        raise ValueError(
            f"no copy of task {task!r} in {data_folder}; run `prunesweep data fetch {task} --to "
            f"{data_folder}` on a machine that reaches the hub, or give the folder that has one "
            f"with {option}"
        )
    return read_copy(folder)


def read_copy(folder: Path) -> Copy:
    """The copy in `folder`.

    Raises:
        ValueError: its card cannot be read, or a file is missing or of another size.
    """
    again = f"run `prunesweep data fetch {folder.name} --to {folder.parent} --again`"
    try:
        card = CopyCard.model_validate_json((folder / CARD).read_text("utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / CARD} cannot be read ({first_line(error)}); {again}") from None
    if card.task not in BENCHMARKS:
        raise ValueError(f"{folder / CARD} is of task {card.task!r}, which is not known here")
    for name, file in card.files.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"the copy in {folder} has no file {name}; {again}")
        if path.stat().st_size != file.size_bytes:
            raise ValueError(
                f"{path} has {path.stat().st_size:,} bytes, but its card says "
                f"{file.size_bytes:,}; {again}"
            )
    return Copy(BENCHMARKS[card.task], folder, card)


def image_names(benchmark: Benchmark, questions: Path) -> list[str]:
    """Name of each question's image: its key columns, or a digest of its bytes.

    Of several images the first one counts. COCO's images are named by their number in all
    benchmarks that show them, whichever year the file's name has.
    """
    if benchmark.keys_repeat:
        return _picture_names(benchmark, questions)
    if benchmark.key:
        keys = question_keys(benchmark, questions)
        return [str(coco_number(k)) for k in keys] if benchmark.collection == "coco" else keys
    cells = _cells(questions, benchmark.image_columns[0])
    return [_image_digest(cell, row) for row, cell in enumerate(cells)]


def question_keys(benchmark: Benchmark, questions: Path) -> list[str]:
    """What the key columns of each question say."""
    rows = pq.read_table(questions, columns=list(benchmark.key)).to_pylist()
    return ["/".join(str(row[column]) for column in benchmark.key) for row in rows]


def _picture_names(benchmark: Benchmark, questions: Path) -> list[str]:
    """The same name for the same picture under several keys, and for all questions of a key."""
    names: dict[str, str] = {}  # by key
    by_content: dict[str, str] = {}
    keys = question_keys(benchmark, questions)
    cells = _cells(questions, benchmark.image_columns[0])
    content = {
        key: _pixel_digest(cell, row)
        for row, (key, cell) in enumerate(zip(keys, cells, strict=True))
    }
    for key, pixels in content.items():
        if found := _COCO_FILE.search(key):
            names[key] = by_content[pixels] = f"{COCO}{int(found[1])}"
    return [names.get(key) or by_content.get(content[key], content[key]) for key in keys]


def _cells(questions: Path, column: str) -> Iterator[Any]:
    for batch in pq.ParquetFile(questions).iter_batches(batch_size=256, columns=[column]):
        for row in batch.to_pylist():
            yield row[column]


def coco_number(name: str) -> int:
    """310196 of `COCO_val2014_000000310196.jpg`, and of the file's name of another year.

    Raises:
        ValueError: the name does not end in a number.
    """
    number = name.rpartition("_")[2].partition(".")[0]
    if not number.isdigit():
        raise ValueError(f"{name!r} is not the name of a COCO image, which ends in its number")
    return int(number)


def copies_in(folder: Path) -> list[Path]:
    """`folder` itself if it is a copy, else the copies that lie in it, by name."""
    if (folder / CARD).is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{CARD}"))


def _pixel_digest(image: dict[str, bytes | str | None] | None, row: int) -> str:
    """Of what is seen, as one picture may be stored in two ways; of its bytes if it is damaged."""
    content = (image or {}).get("bytes")
    if isinstance(content, bytes):
        with suppress(ValueError):
            seen = read_picture(io.BytesIO(content))
            return hashlib.sha256(repr(seen.size).encode() + seen.tobytes()).hexdigest()[:16]
    return _image_digest(image, row)


def _image_digest(image: dict[str, bytes | str | None] | None, row: int) -> str:
    content = image.get("bytes") if image else None
    if not isinstance(content, bytes):
        return f"row {row}"  # no picture that another question could share
    return hashlib.sha256(content).hexdigest()[:16]


def column_faults(schema: pa.Schema, columns: Mapping[str, Kind]) -> list[str]:
    """One phrase for each column that is missing or holds something else."""
    faults = []
    for name, kind in columns.items():
        if name not in schema.names:
            faults.append(f"{name!r} is missing")
        elif not holds(schema.field(name).type, kind):
            faults.append(f"{name!r} holds {schema.field(name).type}, not {_WORDS[kind]}")
    return faults


def holds(arrow: pa.DataType, kind: Kind) -> bool:
    """Whether a column of that Arrow type can hold `kind`."""
    text = bool(pa.types.is_string(arrow) or pa.types.is_large_string(arrow))
    integer = bool(pa.types.is_integer(arrow))
    struct = bool(pa.types.is_struct(arrow))
    match kind:
        case "text":
            return text
        case "label":
            return text or integer
        case "integer":
            return integer
        case "number":
            return integer or bool(pa.types.is_floating(arrow))
        case "texts":
            listed = bool(pa.types.is_list(arrow) or pa.types.is_large_list(arrow))
            return listed and holds(arrow.value_type, "text")
        case "image":
            return struct and {"bytes", "path"} <= {field.name for field in arrow}
        case "record":
            return struct and not holds(arrow, "image")


_WORDS: dict[Kind, str] = {
    "text": "text",
    "label": "text or integers",
    "integer": "integers",
    "number": "numbers",
    "texts": "lists of text",
    "image": "images (a struct of bytes and path)",
    "record": "a struct",
}
