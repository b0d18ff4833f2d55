"""How any table is printed: in a terminal what its width holds, in a pipe and in files all of it.

A terminal never cuts an id or a number. A number's column is as wide as its widest cell; words may
wrap between words, over two lines; headers wrap over as many as they need. Columns whose width is
not there are left out, the least important first, and one line below the table says which; or they
go on below, beside the names of their rows.
"""

from __future__ import annotations

import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

TEXT_COLUMNS = {
    "trial", "configuration", "status", "origin", "frontier", "signs", "mixture", "effect",
    "told apart", "recipe", "factor", "level", "at", "verdict", "standing",
    "published row", "task", "state", "method", "method, amount", "rows", "attention", "stage",
    "from", "cell", "against", "sweep", "model", "what", "why", "best", "running", "question",
    "right", "answered",
}  # fmt: skip
GAP = 2  # between two columns
LINES = 2  # of a cell of words


class Widths(NamedTuple):
    """Of a column: the least that cuts nothing, its cells on one line, its header too."""

    least: int
    cells: int
    whole: int


class Printed(ABC):
    """What rich draws as wide as a terminal is, and a pipe gets as plain text."""

    def show(self, console: Console) -> None:
        """Print it: drawn in a terminal, plain text in a pipe."""
        if console.is_terminal:
            console.print(self, crop=False)  # an id that is wider than the terminal stays whole too
        else:
            print(self.plain(), file=console.file, flush=True)

    @abstractmethod
    def plain(self) -> str:
        """Aligned plain text."""


@dataclass(frozen=True)
class TextTable(Printed):
    """Rows of text under their header, with a title (for terminals) and a note below.

    `first` names the columns that a narrow terminal keeps longest, the most important one first;
    the others follow in their order. `also` says where else a terminal's reader finds all of them,
    and `styles` how a terminal shows cells of that text.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    title: str = ""
    first: Sequence[str] = ()
    also: str = "a pipe, e.g. `| less -S`"
    styles: Mapping[str, str] = field(default_factory=dict)
    folded: int = 0

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """For a terminal of `options.max_width` columns."""
        if self.folded and self.least_width() > options.max_width:
            for place, part in enumerate(self._parts(options.max_width)):
                yield from ([Text()] if place else [])
                yield part
            return
        widths = self._fitting(options.max_width)
        if self.title:
            yield _broken(Text(self.title, style="bold"), options.max_width)
        table = Table(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True,
            width=sum(widths.values()) + GAP * (len(widths) - 1),
        )  # fmt: skip
        for column, width in widths.items():
            name = self.header[column]
            table.add_column(name, width=width, justify="left" if is_word(name) else "right")
        for row in self.rows:
            texts = (
                (Text(row[i], self.styles.get(row[i], "")), width) for i, width in widths.items()
            )
            table.add_row(*(_broken(text, width) for text, width in texts))
        yield table
        left_out = [name for i, name in enumerate(self.header) if i not in widths]
        if left_out:
            below = (
                f"Left out at {options.max_width} columns: {', '.join(left_out)}. "
                f"All of them: {self.least_width()} columns, or {self.also}."
            )
            yield _broken(Text(below, style="italic"), options.max_width)
        if self.note:
            yield _broken(Text(self.note, style="dim"), options.max_width)

    def plain(self) -> str:
        """Aligned plain text, the note on its last line."""
        text = _aligned((self.header, *self.rows), [is_word(name) for name in self.header])
        return "\n".join([*text, *([self.note] if self.note else [])])

    def markdown(self) -> str:
        """Markdown; the note is a paragraph of its own."""
        rule = ["---" if is_word(name) else "---:" for name in self.header]
        table = "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
            for cells in (self.header, rule, *self.rows)
        )
        return f"{table}\n\n{self.note}\n" if self.note else table

    def least_width(self) -> int:
        """The narrowest terminal that shows every column."""
        return sum(each.least for each in self._widths()) + GAP * (len(self.header) - 1)

    def _parts(self, width: int) -> list[TextTable]:
        """The table in tables that `width` holds, each with at least one column of its own."""
        needed = [each.least + GAP for each in self._widths()]
        heads = [*range(self.folded)]
        parts: list[list[int]] = [[]]
        for column in range(self.folded, len(self.header)):
            used = sum(needed[i] for i in (*heads, *parts[-1], column)) - GAP
            parts += [[]] if parts[-1] and used > width else []
            parts[-1].append(column)
        last = len(parts) - 1
        return [
            replace(
                self,
                header=[self.header[i] for i in (*heads, *part)],
                rows=[[row[i] for i in (*heads, *part)] for row in self.rows],
                title="" if place else self.title,
                note=self.note if place == last else "",
                folded=0,
            )
            for place, part in enumerate(parts)
        ]

    def _widths(self) -> list[Widths]:
        columns = list(zip(self.header, *self.rows, strict=True))
        return [_column_widths(name, set(cells)) for name, *cells in columns]

    def _fitting(self, width: int) -> dict[int, int]:
        """The columns that `width` holds, in their order, each with its own; never less than one.

        What is left over goes to cells that wrap, then to headers, by importance.
        """
        important = {self.header.index(name): None for name in self.first if name in self.header}
        order = [*important, *(i for i in range(len(self.header)) if i not in important)]
        widths, given, left = self._widths(), dict[int, int](), width + GAP
        for column in order:
            if not given or widths[column].least + GAP <= left:
                given[column] = widths[column].least
                left -= given[column] + GAP
        for goal in ("cells", "whole"):
            for column in given:
                more = max(0, min(getattr(widths[column], goal) - given[column], left))
                given[column] += more
                left -= more
        return dict(sorted(given.items()))


@dataclass(frozen=True)
class Listing(Printed):
    """Rows of short names and, in their last column, a text that wraps beside them."""

    rows: Sequence[Sequence[str]]
    title: str = ""
    styles: Mapping[str, str] = field(default_factory=dict)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """For a terminal; a text's word that is wider than its column is folded, not cut."""
        if self.title:
            yield Text(self.title, style="italic")
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
        names = max((len(row) for row in self.rows), default=1) - 1
        for place in range(names):
            table.add_column(no_wrap=True, style="bold" if place == names - 1 else "")
        table.add_column(overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(cell, style=self.styles.get(cell, "")) for cell in row))
        yield table

    def plain(self) -> str:
        """Aligned plain text under the title, a line per row."""
        text = _aligned(self.rows, [True] * max((len(row) for row in self.rows), default=0))
        return "\n".join([*([self.title] if self.title else []), *text])


def say(console: Console, text: str | Text) -> None:
    """Print sentences: a terminal's lines end between words, and a pipe gets one line.

    A word that is longer than the terminal is wide, as a path may be, is not broken.
    """
    text = Text(text) if isinstance(text, str) else text
    console.print(_broken(text, console.width) if console.is_terminal else text, soft_wrap=True)


def say_command(console: Console, command: str) -> None:
    """Print a command to copy; lines that a terminal cannot hold go on behind a backslash."""
    width = console.width - 2 if console.is_terminal else len(command)
    lines = textwrap.wrap(command, width, break_long_words=False, break_on_hyphens=False)
    print(" \\\n".join(lines), file=console.file, flush=True)


def _broken(text: Text, width: int) -> Text:
    """The text in lines that end between words.

    Rich folds or cuts a word that is longer than a line, and cuts the last word of a line that wide
    characters fill exactly.
    """
    if cell_len(text.plain) <= width:
        return text
    lines = list[Text]()
    for line in text.split("\n", allow_blank=True):
        start, ends = 0, list[int]()
        for word in re.finditer(r"\S+", line.plain):
            before = line.plain[start : word.start()].strip()
            if before and cell_len(line.plain[start : word.end()]) > width:
                start = word.start()
                ends.append(start)
        lines += line.divide(ends)
    for line in lines:
        line.rstrip()
    return type(text)("\n", overflow="ignore").join(lines)


def is_word(header: str) -> bool:
    """Whether the column of that name holds words, which stand on its left."""
    return header in TEXT_COLUMNS


def _column_widths(header: str, cells: set[str]) -> Widths:
    whole = max(map(cell_len, cells), default=0)
    least = max((cell_len(word) for cell in cells for word in cell.split()), default=0)
    if not is_word(header):
        least = whole
    while least < whole and any(_lines(cell, least) > LINES for cell in cells):
        least += 1
    heading = max(map(cell_len, header.split()), default=0)
    both = max(whole, cell_len(header))
    return Widths(max(least, heading), max(whole, heading), both)


def _lines(text: str, width: int) -> int:
    """How many a text takes, none of its words being longer than `width`."""
    lines, used = 1, -1
    for word in map(cell_len, text.split()):
        used += 1 + word
        if used > width:
            lines, used = lines + 1, word
    return lines


def _aligned(rows: Sequence[Sequence[str]], words: Sequence[bool]) -> list[str]:
    """The rows as lines; columns of words begin in one place, those of numbers end in one."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]

    def padded(cell: str, width: int, left: bool) -> str:
        space = " " * (width - cell_len(cell))
        return cell + space if left else space + cell

    return ["  ".join(map(padded, row, widths, words)).rstrip() for row in rows]
