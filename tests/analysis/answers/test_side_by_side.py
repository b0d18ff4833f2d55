"""Answers side by side: who is shown, in which order, marked how, and nothing unescaped."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from helpers.trials import make_dense, make_trial, write_gallery, write_sweep

from analysis.answers.answers_page import LONGEST, answers_section, write_answers
from analysis.answers.side_by_side import (
    Answer,
    Answers,
    answers_plain,
    answers_table,
    find_answers,
)
from analysis.load import Trial, load_trials
from sweeps.engine.report.telling import report_of
from trainables.records import REPORT_SAMPLES

NASTY = "</td><script>alert(\"x\")</script> & 'q'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Dense, two frontier trials, a dominated one, a native model; three samples."""
    trials = [
        make_trial("a", 0.55, weights_mib=6.0, report=0.5, ratio=0.6),
        make_trial("b", 0.85, weights_mib=8.0, report=0.8, method="widthwise"),
        make_trial("c", 0.75, weights_mib=9.0, report=0.7),
        make_trial("native", 0.6, weights_mib=7.0, report=0.45, origin="reference", scope="none"),
        make_dense(report=1.0),
    ]
    folder = write_sweep(tmp_path, trials)
    write_gallery(
        folder,
        {
            "dense": [("1", 100.0), ("2", 100.0), ("3", 100.0)],
            "a": [("0", 0.0), (NASTY, 0.0), ("33", 37.5)],
            "b": [("1", 100.0), ("two", 0.0), ("3", 100.0)],
            "c": [("9", 0.0), ("9", 0.0), ("9", 0.0)],
            "native": [("8", 0.0), ("2", 100.0), ("3", 100.0)],
        },
        question="How many <b>things</b>?\nAnswer & stop.",
    )
    return folder


def found(folder: Path, shown: set[str] | None = None) -> Answers:
    answers = find_answers(folder, load_trials(folder), {"a", "b"} if shown is None else shown)
    assert answers is not None
    return answers


def test_a_caption_above_100_is_shown_with_its_score() -> None:
    """CIDEr x 100 has no value at which a caption is right."""
    assert Answer(text="a red bus", score=137.2).mark == "~137"
    assert Answer(text="yes", score=100.0).mark == "✓"


def test_dense_first_then_by_rising_size(folder: Path) -> None:
    answers = found(folder)
    assert [m.trial_id for m in answers.models] == ["dense", "a", "native", "b"]
    assert [m.label for m in answers.models][::2] == ["dense", "tiny (native)"]
    assert answers.models[1].size == "6 MiB"
    assert answers.models[1].quality == "retention 50.0 +/- 1.0 %"
    assert [m.trial_id for m in found(folder, {"c"}).models] == ["dense", "native", "c"]


def test_answers_stand_with_their_sample_and_are_marked_by_their_score(folder: Path) -> None:
    rows = found(folder).rows
    assert [r.sample.doc_id for r in rows] == [0, 7, 14]
    assert [a.text for a in rows[1].answers] == ["2", NASTY, "2", "two"]
    assert [a.mark for a in rows[1].answers] == ["✓", "✗", "✓", "✗"]
    assert rows[2].answers[1].verdict == "partly right"
    assert rows[2].answers[1].mark == "~38"


class Cells(HTMLParser):
    """The text and class of every cell, row by row, as a browser would see them."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[tuple[str, str]]] = []
        self.tags: set[str] = set()
        self.pictures: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append((dict(attrs).get("class") or "", ""))
        elif tag == "img":
            self.pictures.append(str(dict(attrs)["src"]))

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            kind, text = self.rows[-1][-1]
            self.rows[-1][-1] = (kind, text + data)


def test_the_page_shows_everything_and_escapes_it(folder: Path) -> None:
    page = answers_section(found(folder), folder)
    cells = Cells()
    cells.feed(page)
    assert "script" not in cells.tags
    head, first, second, third = cells.rows
    assert [text for _, text in head] == [
        "picture", "question", "truth", "dense16.0 MiBretention 100.0 %",
        "layerwise 0.60 joint ce+l2 20% data6 MiBretention 50.0 +/- 1.0 %",
        "tiny (native)7 MiBretention 45.0 +/- 1.0 %",
        "widthwise 0.30 joint ce+l2 20% data8 MiBretention 80.0 +/- 1.0 %",
    ]  # fmt: skip
    assert first[1:3] == [
        ("question", "How many <b>things</b>?\nAnswer & stop.tiny_counting 0"),
        ("truth", "truth 0"),
    ]
    assert second[3:] == [
        ("answer right", "✓2"),
        ("answer wrong", f"✗{NASTY}"),
        ("answer right", "✓2"),
        ("answer wrong", "✗two"),
    ]
    assert third[4] == ("answer partly", "~3833")
    assert 'aria-label="wrong"' in page
    kept = [(folder / "gallery" / f"{i}.png").read_bytes() for i in range(3)]
    assert [base64.b64decode(uri.split(",")[1]) for uri in cells.pictures] == kept
    assert not re.search(r"(src|href)=\"(https?:)?//", page)


def test_an_endless_answer_is_cut_in_the_page_but_not_in_the_file(folder: Path) -> None:
    write_gallery(folder, {"dense": [("blah " * 1000, 0.0)]})
    page = answers_section(found(folder, set()), folder)
    plain = write_answers(folder, found(folder, set()))
    assert "blah " * (LONGEST // 5) in page
    assert "blah " * (LONGEST // 5 + 1) not in page
    assert "4,999 characters" in page
    assert Answers.model_validate_json(plain.read_text()).rows[0].answers[0].text == "blah " * 1000
    assert not list(folder.glob(".*"))


def test_without_pictures_or_samples_the_section_is_left_out(folder: Path) -> None:
    """A sweep from an older version has no gallery, or no samples of its models."""

    def trials() -> list[Trial]:
        return load_trials(folder)

    (folder / "trials" / "b" / REPORT_SAMPLES).unlink()
    assert [m.trial_id for m in found(folder).models] == ["dense", "a", "native"]
    (folder / "gallery" / "1.png").unlink()
    assert "the picture is gone" in answers_section(found(folder), folder)
    (folder / "trials" / "dense" / REPORT_SAMPLES).unlink()
    assert find_answers(folder, trials(), {"a"}) is None
    (folder / "gallery" / "gallery.json").unlink()
    assert find_answers(folder, trials(), {"a"}) is None
    assert report_of(folder).answers is None


def test_a_sample_that_one_model_did_not_answer_is_left_out(folder: Path) -> None:
    said = {"dense": [("1", 100.0)] * 3, "a": [("1", 100.0)] * 2}
    write_gallery(folder, said)
    assert [r.sample.doc_id for r in found(folder, {"a"}).rows] == [0, 7]


def test_text_in_pipes_and_in_terminals(folder: Path) -> None:
    from rich.console import Console

    answers = found(folder)
    text = answers_plain(answers)
    assert "tiny_counting 7: How many <b>things</b>?\n      Answer & stop.\n" in text
    block = text.split("\n\n")[1].splitlines()
    assert block[2].split() == ["=", "truth", "truth", "1"]
    assert block[-1].split() == "✗ widthwise 0.30 joint ce+l2 20% data two".split()
    console = Console(file=StringIO(), width=140, force_terminal=True, color_system=None)
    console.print(answers_table(answers))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "</script>" in shown
    assert "truth 2" in shown


def test_answers_stand_under_each_other_and_empty_ones_are_named(folder: Path) -> None:
    write_gallery(folder, {"a": [("", 0.0), ("two", 37.5), ("3", 100.0)]})
    answers = found(folder)
    lines = [line for line in answers_plain(answers).splitlines() if line.startswith("  ")]
    label = "layerwise 0.60 joint ce+l2 20% data"
    said = [line for line in lines if label in line]
    assert [line.split("data")[1].strip() for line in said] == ["(nothing)", "two", "3"]
    assert len({line.index(label) for line in said}) == 1
    assert len({line.index("truth") for line in lines if "truth" in line}) == 1


def test_the_json_holds_the_table(folder: Path) -> None:
    path = write_answers(folder, found(folder))
    plain = json.loads(path.read_text())
    assert plain["rows"][1]["sample"]["truth"] == ["truth 1"]
    assert plain["rows"][2]["answers"][1] == {"text": "33", "score": 37.5}
    assert Answers.model_validate(plain) == found(folder)


def test_the_modules_load_without_torch() -> None:
    code = (
        "import sys, analysis.answers.answers_page, analysis.answers.side_by_side\n"
        "import sweeps.engine.track.answer_table\n"
        "assert not {'torch', 'mlflow', 'PIL', 'pyarrow', 'plotly'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
