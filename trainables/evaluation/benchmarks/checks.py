"""What is wrong with a copy, or missing on this machine, before anything is started. Torch-free."""

import importlib.util
import io
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from trainables.common.contents import file_digest
from trainables.common.names import first_line
from trainables.common.pictures import read_picture
from trainables.evaluation.benchmarks.benchmark import IMAGE_TABLE, Benchmark, Kind, Need
from trainables.evaluation.benchmarks.copies import Copy, column_faults, question_keys
from trainables.evaluation.benchmarks.splits import split_rows

FIRST_ROWS = 8  # whose images are decoded before a sweep; `data check` decodes all

Progress = Callable[[str, int, int | None], None]


def check_needs(benchmark: Benchmark) -> None:
    """Refuse a task whose scoring needs something that this machine lacks.

    Raises:
        ValueError: says what, and how to get it.
    """
    for need in benchmark.needs:
        there, way_out = _NEEDS[need]
        if not there():
            raise ValueError(
                f"task {benchmark.name!r} needs {need} for its scores, which is not on this "
                f"machine; {way_out}, on every machine that evaluates, or leave the task out"
            )


def check_schema(copy: Copy) -> None:
    """Refuse a copy without the columns that the task's code reads.

    Raises:
        ValueError: names the columns that are missing or hold something else.
    """
    name = copy.benchmark.name
    faults = [*_file_faults(copy.questions, copy.benchmark.columns)]
    if copy.images is not None:
        faults += _file_faults(copy.images, IMAGE_TABLE)
    if faults:
        raise ValueError(
            f"the copy of task {name!r} in {copy.folder} does not have the columns that the task "
            f"reads: {'; '.join(faults)}. Fetch it again, or mend it"
        )
    if copy.benchmark.keys_repeat and any("/" in image for image in copy.image_names):
        raise ValueError(
            f"the copy of task {name!r} in {copy.folder} names its images by their questions, as "
            "an earlier version did, so that one picture might be searched on and reported on; run "
            f"`prunesweep data fetch {name} --to {copy.folder.parent} --again`"
        )
    rows = pq.read_metadata(copy.questions).num_rows
    if len(copy.image_names) != rows:
        raise ValueError(
            f"the copy of task {name!r} in {copy.folder} names {len(copy.image_names)} images for "
            f"{rows} questions; fetch it again"
        )


def check_copy(copy: Copy, share: float) -> None:
    """Refuse a copy that the task's code cannot read; looks at schemas and the first images.

    Args:
        copy: found complete.
        share: of the images that form the search split.

    Raises:
        ValueError: names the columns, the rows or the split.
    """
    check_schema(copy)
    benchmark, name, images = copy.benchmark, copy.benchmark.name, copy.image_names
    check_whole_images(benchmark, copy.questions)
    for split in ("search", "report"):
        split_rows(name, benchmark.collection, images, split, share, seed=0)
    for fault in image_faults(copy, FIRST_ROWS):
        raise ValueError(fault)


def image_faults(
    copy: Copy, first: int | None = None, progress: Progress = lambda what, done, of: None
) -> Iterator[str]:
    """A sentence for each row whose image cannot be decoded.

    Args:
        copy: of which all images are decoded.
        first: only so many rows.
        progress: told how far it is.
    """
    path = copy.images or copy.questions
    columns = ("image",) if copy.images else copy.benchmark.image_columns
    table = pq.ParquetFile(path)
    total = min(table.metadata.num_rows, first or table.metadata.num_rows)
    row = 0
    try:
        for batch in table.iter_batches(batch_size=min(64, first or 64), columns=list(columns)):
            for found in batch.to_pylist():
                if row == total:
                    return
                reason = _fault(found)
                if reason is not None:
                    yield (
                        f"row {row} of {path}: the image of task {copy.benchmark.name!r} cannot "
                        f"be read ({reason})"
                    )
                row += 1
            progress(copy.benchmark.name, row, total)
    except (OSError, pa.ArrowException) as error:
        yield f"{path} cannot be read from row {row} on ({first_line(error)})"


def missing_images(copy: Copy) -> list[str]:
    """A sentence for each image that a question names and the table of images lacks."""
    if copy.images is None:
        return []
    there = {str(name) for name in pq.read_table(copy.images, columns=["id"])["id"].to_pylist()}
    lacking = Counter(name for name in copy.image_names if name not in there)
    return [
        f"image {name!r}, which {count} questions of {copy.questions} show, is not in {copy.images}"
        for name, count in sorted(lacking.items())
    ]


def altered_files(copy: Copy) -> list[str]:
    """A sentence for each file whose content is not what its card says."""
    return [
        f"{copy.folder / name}: its content is not what {copy.folder.name}'s card says"
        for name, file in copy.card.files.items()
        if file_digest(copy.folder / name) != file.sha256
    ]


def decode(image: dict[str, bytes | str | None]) -> Image.Image:
    """What is seen of the picture in an image cell, as RGB (see `pictures`).

    Raises:
        ValueError: it has no bytes, or they are no picture.
    """
    content = image.get("bytes")
    if not isinstance(content, bytes):
        raise ValueError("it has no bytes")
    return read_picture(io.BytesIO(content))


def _fault(cells: Mapping[str, Any]) -> str | None:
    """What is wrong with the images of one row; cells may be empty, but not all of them."""
    if not any(cells.values()):
        return "there is no image"
    for cell in cells.values():
        if cell is not None:
            try:
                decode(cell)
            except ValueError as error:
                return str(error)
    return None


def _file_faults(path: Path, columns: Mapping[str, Kind]) -> Iterator[str]:
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        yield f"{path.name} is no readable parquet file ({first_line(error)})"
        return
    yield from column_faults(schema, columns)


def check_whole_images(benchmark: Benchmark, questions: Path) -> None:
    """Refuse data in which an image lacks one of the questions that are scored together.

    Raises:
        ValueError: names an image and how many questions it has.
    """
    wanted = benchmark.questions_per_image
    if wanted is None:
        return
    counts = Counter(question_keys(benchmark, questions))
    others = {image: count for image, count in counts.items() if count != wanted}
    if others:
        image, count = next(iter(sorted(others.items())))
        raise ValueError(
            f"task {benchmark.name!r} scores images with exactly {wanted} questions, but "
            f"{len(others)} images of these data have another number (image {image!r}: {count}); "
            "fetch them again"
        )


def _caption_code() -> bool:
    """Whether it is there, in a folder that its tokenizer can write its input to."""
    found = importlib.util.find_spec("pycocoevalcap")
    places = found.submodule_search_locations if found else None
    return any(os.access(Path(place) / "tokenizer", os.W_OK) for place in places or ())


_NEEDS: dict[Need, tuple[Callable[[], bool], str]] = {
    "java": (
        lambda: shutil.which("java") is not None,
        "install a Java runtime such as default-jre-headless",
    ),
    "pycocoevalcap": (
        _caption_code,
        "`pip install pycocoevalcap` into an environment whose files this user may write",
    ),
    "Levenshtein": (
        lambda: importlib.util.find_spec("Levenshtein") is not None,
        "`pip install 'prunesweep[mathvista]'`",
    ),
}
