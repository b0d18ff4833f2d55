"""Parsed conversations as a memory-mapped Arrow table, so that processes share its pages.

`datasets`' own JSON reader wants one type per column, and fails on LLaVA's ids, which are strings
and numbers; so rows are parsed by `samples` and handed over. A table is built once per content, in
the folder where `datasets` keeps its files (`HF_DATASETS_CACHE`), and may be deleted at any time.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from trainables.common.store import Store
from trainables.recovery.data import formats
from trainables.recovery.data import rows as samples
from trainables.recovery.data.formats import Source, read_rows
from trainables.recovery.data.rows import Broken, BrokenSampleError, Sample, parse_row

ROWS, FAULTS = "rows.arrow", "broken.jsonl"
CHUNK = 1000  # rows


class Table(NamedTuple):
    """The usable rows of a source, and the others.

    Attributes:
        rows: a `datasets.Dataset` with the columns of `Sample`, and `part`, the number of the part
            that the row is from; parts follow each other.
        broken: what could not be used, with the number of its part.
    """

    rows: Any
    broken: tuple[tuple[int, Broken], ...]


def open_table(source: Source) -> Table:
    """The table of a source, parsed now unless it was before.

    Raises:
        ValueError: a file is truncated or mixes formats, or the table cannot be written.
    """
    import datasets

    root = Path(datasets.config.HF_DATASETS_CACHE) / "prunesweep"
    key = {"parts": [part.digest for part in source.parts], "parser": _parser()}
    try:
        folder, _ = Store(root).get_or_create(
            "conversations", key, functools.partial(_build, source)
        )
        faults = (folder / FAULTS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ValueError(
            f"the table of conversations cannot be kept in {root} ({error.strerror}); set "
            "HF_DATASETS_CACHE to a folder with room"
        ) from None
    rows = datasets.Dataset.from_file(str(folder / ROWS))
    loaded = [json.loads(line) for line in faults]
    return Table(rows, tuple((part, Broken(*fault)) for part, *fault in loaded))


def _build(source: Source, folder: Path) -> None:
    from datasets import Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    text = Value("string")
    features = Features(
        part=Value("int32"),
        id=text,
        images=List(text),
        questions=List(text),
        answers=List(text),
    )
    broken: list[tuple[int, Broken]] = []
    writer = ArrowWriter(features=features, path=str(folder / ROWS))
    for chunk in _chunks(_parsed(source, broken)):
        writer.write_batch(
            {
                "part": [part for part, _ in chunk],
                "id": [sample.id for _, sample in chunk],
                "images": [list(sample.images) for _, sample in chunk],
                "questions": [[q for q, _ in sample.turns] for _, sample in chunk],
                "answers": [[a for _, a in sample.turns] for _, sample in chunk],
            }
        )
    writer.finalize()
    writer.close()
    lines = [json.dumps([part, *fault], ensure_ascii=False) for part, fault in broken]
    (folder / FAULTS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _parsed(source: Source, broken: list[tuple[int, Broken]]) -> Iterator[tuple[int, Sample]]:
    """(part, sample) of every usable row; the others go into `broken`."""
    for part, file in enumerate(source.parts):
        for number, row in enumerate(read_rows(file.path)):
            try:
                yield part, parse_row(row, number)
            except BrokenSampleError as error:
                broken.append((part, Broken(error.fault, error.sample, str(error))))


def _chunks(parsed: Iterator[tuple[int, Sample]]) -> Iterator[list[tuple[int, Sample]]]:
    chunk: list[tuple[int, Sample]] = []
    for one in parsed:
        chunk.append(one)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


@functools.cache
def _parser() -> str:
    """Digest of the code that parses, so that a table of another version is a miss."""
    sources = [
        Path(str(file)).read_bytes() for file in (formats.__file__, samples.__file__, __file__)
    ]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()[:16]
