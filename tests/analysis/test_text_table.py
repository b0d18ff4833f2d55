"""Columns are chosen by width: whatever is shown is whole, and what is not is named."""

from __future__ import annotations

import random
import re
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from analysis.text_table import GAP, Listing, TextTable, say, say_command

TRIAL = "118-widthwise-45-projector_lora-ce+rkl+hidden-nf4"
HEADER = ("trial", "configuration", "recovery TFLOPs", "retention", "名 size")
FIRST = ("trial", "retention")


def random_rows(seed: int) -> list[tuple[str, ...]]:
    """One to five rows: ids of up to 50 characters, words (wide ones too), and numbers."""
    draw = random.Random(seed)

    def word(letters: str, most: int) -> str:
        return "".join(draw.choices(letters, k=draw.randint(1, most)))

    def number() -> str:
        text = f"{draw.choice([7, 640, 12_345, 9_876_543]):,}"
        return text + " +/- 0.4" * draw.randint(0, 1)

    return [
        (
            word("abcdef0123456789-+_", 50),
            " ".join(word("abc名", 9) for _ in range(draw.randint(0, 5))),
            *(number() for _ in range(3)),
        )
        for _ in range(draw.randint(1, 5))
    ]


def drawn(table: TextTable | Listing, width: int) -> list[str]:
    file = StringIO()
    table.show(Console(file=file, width=width, force_terminal=True, color_system=None))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 60, 78, 80, 100, 140])
@pytest.mark.parametrize("seed", range(20))
def test_what_is_shown_is_whole_and_what_is_not_is_named(seed: int, width: int) -> None:
    table = TextTable(HEADER, rows := random_rows(seed), first=FIRST)
    lines = drawn(table, width)
    body, _, below = "\n".join(lines).partition("\nLeft out at ")
    own = max(len(row[0]) for row in rows)
    wide = max(width, own, len("trial"))
    assert max(map(cell_len, body.splitlines())) <= wide
    left_out = " ".join(below.split()).partition(": ")[2].partition(". All")[0].split(", ")
    shown = [i for i, name in enumerate(HEADER) if name not in left_out]
    assert 0 in shown
    text = " ".join(body.split())
    for row in rows:
        assert all(row[i] in text for i in shown if i != 1)
        if 1 in shown:
            assert all(word in text for word in row[1].split())
    if below:  # the most important of those that are left out would not fit
        least = [max([cell_len(r[i]) for r in rows] + [cell_len(w) for w in HEADER[i].split()])
                 for i in range(len(HEADER))]  # fmt: skip
        if 3 not in shown:
            assert least[0] + GAP + least[3] > width


@pytest.mark.parametrize("seed", range(20))
def test_the_width_that_it_names_is_the_least_that_shows_all(seed: int) -> None:
    table = TextTable(HEADER, random_rows(seed), first=FIRST)
    least = table.least_width()
    assert "Left out" not in "\n".join(drawn(table, least))
    assert f"All of them: {least} columns" in " ".join(" ".join(drawn(table, least - 1)).split())


def test_an_id_wider_than_the_terminal_stays_on_one_line() -> None:
    lines = drawn(TextTable(("trial", "MiB"), [(TRIAL, "9")], first=("trial",)), 30)
    assert TRIAL in lines


def test_importance_decides_and_places_stay() -> None:
    row = (TRIAL, "widthwise 0.45 projector_lora", "0.481", "97.1 +/- 0.4", "6,913,000")
    lines = drawn(TextTable(HEADER, [row], first=(*FIRST, "recovery TFLOPs")), 80)
    assert lines[0].split() == ["trial", "recovery", "TFLOPs", "retention"]
    assert lines[2].split() == [TRIAL, "0.481", "97.1", "+/-", "0.4"]
    assert lines[3].startswith("Left out at 80 columns: configuration, 名 size. All of them: ")


def test_a_pipe_gets_every_column() -> None:
    row = (TRIAL, "widthwise 0.45 projector_lora", "0.481", "97.1 +/- 0.4", "6,913,000")
    file = StringIO()
    TextTable(HEADER, [row], "note", "title", FIRST).show(Console(file=file, width=20))
    header, cells, note = file.getvalue().splitlines()
    assert re.split(r"\s{2,}", cells) == list(row)
    assert header.index("retention") + len("retention") == cells.index("0.4 ") + 3
    assert note == "note"


def test_texts_wrap_beside_their_names() -> None:
    listing = Listing([("ok", TRIAL, "word " * 12 + "x" * 40)], "title")
    lines = drawn(listing, 80)
    assert lines[:2] == ["title", f"ok  {TRIAL}  {'word ' * 5}".rstrip()]
    assert max(map(len, lines)) <= 80
    assert "".join(lines[2:]).count("x") == 40
    file = StringIO()
    listing.show(Console(file=file, width=20))
    assert file.getvalue() == f"title\nok  {TRIAL}  {'word ' * 12}{'x' * 40}\n"


@pytest.mark.parametrize("width", [30, 80])
def test_sentences_break_between_words_only(width: int) -> None:
    path = "/a/path/that/is/longer/than/thirty/columns.json"
    for terminal in (True, False):
        file = StringIO()
        say(Console(file=file, width=width, force_terminal=terminal, color_system=None),
            f"{TRIAL} [is] written to {path} :) and that is all that there is")  # fmt: skip
        lines = file.getvalue().splitlines()
        assert (len(lines) > 1) == terminal
        assert {TRIAL, "[is]", path} <= set(" ".join(lines).split())
        assert all(len(line) <= width or len(line.split()) == 1 for line in lines) == terminal


def test_a_command_that_does_not_fit_goes_on_behind_a_backslash() -> None:
    command = f"prunesweep export quickstart/{TRIAL} --to DIR"
    for width, terminal, count in ((80, True, 2), (100, True, 1), (80, False, 1)):
        file = StringIO()
        say_command(Console(file=file, width=width, force_terminal=terminal), command)
        text = file.getvalue()
        assert text.count("\n") == count
        assert text.replace(" \\\n", " ") == f"{command}\n"
