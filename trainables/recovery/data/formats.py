"""The files that hold conversations: which format one is in, and its rows one after the other.

Three layouts, told apart by content, never by name:

- a JSON list of rows (LLaVA's `llava_v1_5_mix665k.json`, Bunny's `bunny_695k.json`),
- JSON lines, one row after the other,
- InternVL's meta JSON, `{name: {"root", "annotation", "repeat_time", ...}}`, which names one file
  of JSON lines (or a JSON list) per part.

A row of each has `id`, `image` and `conversations` (see `rows`). Files are decoded row by row, so
that one of several GiB takes little memory. Not by `ijson` 3.6: as fast, but it refuses NaN and
integers above 64 bits, writes "?" for lone surrogates, and dies of memory on 100,000 open brackets.

A row that is no JSON is stepped over where it is plain where it ends; bytes that are not UTF-8 are
read as lone surrogates. So neither ends the file, and `parse_row` names the sample.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from trainables.common.contents import file_digest
from trainables.recovery.data.rows import Damaged
from trainables.specs import digest

CHUNK = 4 * 2**20  # characters
MOST = 16 * CHUNK  # in which the end of a damaged row is looked for
EXPECTED = (
    "a JSON list of objects with `id`, `image` and `conversations`, the same as JSON lines, or "
    "InternVL's meta JSON"
)
_SPACE = re.compile("[ \t\r\n\ufeff]*")  # files with a byte order mark each may be joined
# Brackets, whole strings, and a quote that nothing closes.
_BRACKET = re.compile(r'''[{}\[\]]|"[^"\\]*(?:\\.[^"\\]*)*"|"''', re.DOTALL)
_ID = re.compile(r""""id"\s*:\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|(-?\d+))""", re.DOTALL)
# Python refuses integers of more digits.
_DECODER = json.JSONDecoder(parse_int=lambda digits: (int if len(digits) < 4300 else float)(digits))


@dataclass(frozen=True)
class Part:
    """A file of rows.

    Attributes:
        path: the file.
        folder: what its image paths start from.
        repeat: how often its samples are in the data: 2.0 is twice, 0.5 the first half of them,
            1.5 all of them and the first half again.
        digest: SHA-256 prefix of its content.
    """

    path: Path
    folder: Path
    repeat: float
    digest: str


@dataclass(frozen=True)
class Source:
    """The parts of a data set, and the digest of their content (not of where they are)."""

    parts: tuple[Part, ...]
    digest: str


def find_source(path: Path, image_folder: Path | None) -> Source:
    """What a conversation file consists of.

    Args:
        path: a file of rows, or InternVL's meta JSON.
        image_folder: what image paths (of a meta: its relative `root`s) start from; None is the
            file's own folder. A meta's paths may also start from the current folder, as they do in
            InternVL's repository.

    Raises:
        ValueError: a file is unreadable or of no known format.
    """
    meta = _read_meta(path)
    if meta is None:
        content = _digest(path)
        return Source((Part(path, image_folder or path.parent, 1.0, content),), content)
    bases = [path.parent, Path()]
    parts = [
        _meta_part(path, name, entry, bases, [image_folder] if image_folder else bases)
        for name, entry in meta.items()
    ]
    named = [[name, part.repeat, part.digest] for name, part in zip(meta, parts, strict=True)]
    return Source(tuple(parts), digest(named))


def read_rows(path: Path) -> Iterator[Any]:
    """The rows of a file, decoded as they are asked for; `Damaged` for one that is no JSON.

    Raises:
        ValueError: the file cannot be read, is truncated, or mixes formats; names the row, and the
            last whole sample before a place that is no JSON.
    """
    number, last = 0, "none"
    try:
        with _opened(path) as file:
            for row in _rows(_Values(file), path):
                if isinstance(row, list):
                    _refuse_list(number, path)
                yield row
                number += 1
                last = repr(str(row.get("id"))) if isinstance(row, dict) else f"row {number - 1}"
    except (json.JSONDecodeError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise ValueError(
            f"{path} is not valid JSON after {number} whole rows, the last of them {last} "
            f"({reason}); is it truncated, or not in UTF-8? Fetch it again"
        ) from None


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    with _readable(path), path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        yield file


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"cannot read the conversations {path}: {error.strerror}") from None


class _Values:
    """The JSON values of a text, decoded one by one."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._at = file, "", 0

    def peek(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space is not None, "the pattern matches nothing, too"
            self._at = space.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self) -> None:
        """Step over the character that `peek` showed."""
        self._at += 1

    def value(self, ends: tuple[str, ...] = ()) -> Any:
        """Decode the next value; `Damaged` where it is none, and its end is plain.

        `ends` are the characters that may follow a row, "" for the end of the text.
        """
        while True:
            try:
                value, self._at = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # A value that goes on in the next chunk fails where the text ends, or where the
                # string that is cut begins; anything else would fail with more text as well.
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - 16
                if cut and self._more():
                    continue
                return self._damaged(error.msg, ends, error)
            except RecursionError as error:
                return self._damaged("nested too deeply", ends, error)
            else:
                return value

    def _damaged(self, reason: str, ends: tuple[str, ...], error: Exception) -> Damaged:
        """Step over what begins here, to where its line or its brackets end."""
        self._text, self._at = self._text[self._at :], 0  # from here on, places stay what they are
        for find in (_end_of_line, _end_of_brackets) if "{" in ends else (_end_of_brackets,):
            while (end := find(self._text)) is None and len(self._text) < MOST and self._more():
                pass
            row = self._text[:end]
            one = row.count('"conversations"') < 2 and (find is _end_of_line or row[:1] == "{")
            if end is not None and one and self._after(end) in ends:
                self._at = end
                found = _ID.search(row)
                return Damaged(found and (found[1] or found[2]), reason)
        raise error

    def _after(self, at: int) -> str:
        """The next character from there on that is no white space; "" at the end."""
        while True:
            space = _SPACE.match(self._text, at)
            assert space is not None, "the pattern matches nothing, too"
            if space.end() < len(self._text) or not self._more():
                return self._text[space.end() : space.end() + 1]

    def _more(self) -> bool:
        rest = self._text[self._at :]
        chunk = self._file.read(max(CHUNK, len(rest)))  # doubles, so that a long row is no trouble
        self._text, self._at = rest + chunk, 0
        return bool(chunk)


def _end_of_line(text: str) -> int | None:
    end = text.find("\n")
    return None if end < 0 else end


def _end_of_brackets(text: str) -> int | None:
    depth = 0
    for found in _BRACKET.finditer(text):
        if found[0] == '"':
            return None
        if found[0] in ("{", "["):
            depth += 1
        elif found[0] in ("}", "]"):
            depth -= 1
            if depth == 0:
                return found.end()
    return None


def _rows(values: _Values, path: Path) -> Iterator[Any]:
    if values.peek() != "[":
        while values.peek():
            yield values.value(("{", ",", ""))
            if values.peek() == ",":
                values.skip()
        return
    values.skip()
    while values.peek() != "]":
        yield values.value((",", "]"))
        if values.peek() == ",":
            values.skip()
        elif values.peek() != "]":
            raise json.JSONDecodeError("Expecting ',' or ']'", "", 0)
    values.skip()
    if values.peek():
        raise ValueError(
            f"{path} mixes formats: more text follows the end of its JSON list; split it into "
            "files of one format each"
        )


def _refuse_list(number: int, path: Path) -> None:
    if number:
        raise ValueError(
            f"{path} mixes formats: row {number} has a list, but the rows before it are objects; "
            "split it into files of one format each"
        )
    raise ValueError(f"{path}: row 0 has a list, but the file must hold {EXPECTED}")


def _read_meta(path: Path) -> dict[str, Any] | None:
    """The entries of InternVL's meta JSON; None for a file of rows."""
    with _opened(path) as file:
        values = _Values(file)
        try:
            if values.peek() != "{":
                return None
            entries: dict[str, Any] = values.value()
            more = values.peek()
        except (ValueError, RecursionError):
            return None  # reading the rows says what is wrong
    if not entries or not all(isinstance(e, dict) and "annotation" in e for e in entries.values()):
        return None
    if more:
        raise ValueError(f"{path} mixes formats: more text follows InternVL's meta JSON")
    return entries


def _meta_part(
    path: Path, name: str, entry: dict[str, Any], bases: list[Path], roots: list[Path]
) -> Part:
    """One entry of a meta; `length` and `data_augment` are InternVL's own affair."""
    repeat = entry.get("repeat_time", 1)
    if isinstance(repeat, bool) or not isinstance(repeat, int | float) or repeat <= 0:
        raise ValueError(
            f"{path}: repeat_time of {name!r} is {repeat!r}, but must be a number above 0; "
            "take the entry out to leave its samples out"
        )
    annotation = _locate(entry["annotation"], bases, f"{path}: annotation of {name!r}")
    root = _locate(entry.get("root", ""), roots, f"{path}: root of {name!r}")
    return Part(annotation, root, float(repeat), _digest(annotation))


def _locate(given: Any, bases: list[Path], what: str) -> Path:
    if not isinstance(given, str):
        raise ValueError(f"{what} is {given!r}, but must be a path")
    tried = [base / given for base in bases]
    for candidate in tried:
        if candidate.exists():
            return candidate
    listed = " or ".join(str(candidate) for candidate in dict.fromkeys(tried))
    raise ValueError(f"{what} is not there: looked for {listed}; mend the meta file's paths")


def _digest(path: Path) -> str:
    with _readable(path):
        return file_digest(path)[:16]
