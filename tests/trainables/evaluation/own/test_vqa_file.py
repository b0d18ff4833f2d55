"""Files of questions: what is read, on which side of the split it falls, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.command_line import invoke
from helpers.question_files import IMAGES, png, rows, write

from trainables.common.store import Store
from trainables.evaluation.benchmarks.splits import split_rows
from trainables.evaluation.own.preparing import check_own, own_contents, own_tasks
from trainables.evaluation.own.task_info import COLLECTION
from trainables.evaluation.own.vqa_file import VqaFile, read_vqa, vqa_faults, vqa_file
from trainables.evaluation.own.vqa_tasks import asked_text
from trainables.specs import EvaluationSpec


def first_row(**changes: Any) -> list[dict[str, Any]]:
    """Rows of which the first one is changed; None takes a column away."""
    changed = {k: v for k, v in {**rows()[0], **changes}.items() if v is not None}
    return [changed, *rows()[1:]]


def test_json_lines_and_parquet_hold_the_same_questions(folder: Path) -> None:
    lines = "\n".join(json.dumps(row) for row in rows())
    columns = {name: [row[name] for row in rows()] for name in rows()[0]}
    pq.write_table(pa.table(columns), folder / "mine.parquet")
    bytes_in = [{"bytes": (folder / row["image"]).read_bytes(), "path": None} for row in rows()]
    pq.write_table(pa.table({**columns, "image": bytes_in}), folder / "within.parquet")
    names = [write(folder, rows()), write(folder, lines, "lines.jsonl")]
    names += [str(folder / f"{stem}.parquet") for stem in ("mine", "within")]
    found = [read_vqa(VqaFile(path=name)).questions for name in names]
    said = [[(q.image_id, q.question, q.answers) for q in questions] for questions in found]
    assert said[0] == said[1] == said[2] == said[3]
    assert len(said[0]) == 2 * IMAGES
    assert isinstance(found[3][0].image, bytes)


def test_no_image_is_on_both_sides_whatever_its_file_is_called(folder: Path) -> None:
    (folder / "again.png").write_bytes((folder / "3.png").read_bytes())
    again = [{**row, "image": "again.png"} for row in rows() if row["image"] == "3.png"]
    settings = EvaluationSpec(tasks=(write(folder, [*rows(), *again]),))
    data = read_vqa(VqaFile(path=settings.tasks[0]))
    named = [q.image_id for q in data.questions]
    sides = {s: split_rows("mine", COLLECTION, named, s, 0.5, 0) for s in ("search", "report")}  # type: ignore[arg-type]
    images = {s: {data.questions[row].image_id for row in asked} for s, asked in sides.items()}
    assert not images["search"] & images["report"]
    assert len(images["search"] | images["report"]) == IMAGES
    assert sum(map(len, sides.values())) == len(data.questions)


def test_one_edited_answer_or_picture_is_another_content(folder: Path) -> None:
    path = write(folder, rows())
    settings = EvaluationSpec(tasks=(path,))
    before = own_contents(settings)
    write(folder, first_row(answer="green"))
    edited = own_contents(settings)
    (folder / "5.png").write_bytes(png(255))
    write(folder, rows())
    assert len({found["mine"] for found in (before, edited, own_contents(settings))}) == 3
    (folder / "5.png").write_bytes(png(100))
    write(folder, rows())  # as it was
    assert own_contents(settings) == before


def test_the_metric_of_a_file(folder: Path) -> None:
    path = write(folder, [{**row, "metric": "contains"} for row in rows()])
    assert read_vqa(VqaFile(path=path)).metric == "contains"
    assert read_vqa(VqaFile(path=path, metric="anls")).metric == "anls"
    tasks = own_tasks(EvaluationSpec(tasks=(f"{path}:anls",)), Store(folder / "store"))
    assert tasks["mine"].answer_lengths == 2
    assert vqa_file("pope") is None
    with_options = [{**row, "options": ["red", "blue"]} for row in rows()]
    data = read_vqa(VqaFile(path=write(folder, with_options)))
    assert (data.metric, data.questions[0].answers, data.questions[1].answers) == (
        "choice", ("A",), ("B",),
    )  # fmt: skip
    assert asked_text(data.questions[0]).splitlines()[:3] == ["what is 0?", "A. red", "B. blue"]


def test_numbers_are_answers_and_zero_is_one(folder: Path) -> None:
    path = write(folder, [{**row, "answer": None, "answers": [0, 2.5, "two"]} for row in rows()])
    assert read_vqa(VqaFile(path=path, metric="relaxed")).questions[0].answers == (
        "0",
        "2.5",
        "two",
    )


REFUSED = {
    "answer: a truth value": (first_row(answer=True), r"row 0 .*True \(bool\)"),
    "answer: nothing": (first_row(answer=None), r"row 0 .*it has no answer"),
    "answer: an object": (first_row(answer={"a": 1}), r"\{'a': 1\} \(dict\)"),
    "answers: none": (first_row(answer=None, answers=[]), "has no answer"),
    "answer: empty": (first_row(answer=" "), r"must be a text or a number"),
    "question: a number": (first_row(question=3), "its question is 3"),
    "question: a lone surrogate": (first_row(question="\ud800"), "its question is"),
    "image: missing": (first_row(image="none.png"), r"'none.png' is not in .*data check"),
    "image: none": (first_row(image=None), "must be a path"),
    "image: elsewhere": (first_row(image="../0.png"), "leaves the folder"),
    "image: NUL": (first_row(image="a\0.png"), "NUL"),
    "image: no picture": (first_row(image="mine.json"), r"row 0 .*cannot be read"),
    "a row is a text": ([*rows(), "more"], r"row 24 .*'more'"),
    "no rows": ([], "has no questions"),
    "no JSON": ("[{", "neither JSON"),
    "two metrics": (
        [{**rows()[0], "metric": "anls"}, {**rows()[1], "metric": "exact"}],
        "metrics anls, exact",
    ),
    "an unknown metric": (first_row(metric="exakt"), "Did you mean 'exact'"),
    "no such option": (first_row(options=["green", "grey"]), "none of the options green, grey"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(folder: Path, case: str) -> None:
    given, words = REFUSED[case]
    with pytest.raises(ValueError, match=words) as refusal:
        check_own(EvaluationSpec(tasks=(write(folder, given),)))
    assert "\n" not in str(refusal.value)


def test_a_metric_that_does_not_fit(folder: Path) -> None:
    path = write(folder, rows())
    for metric, words in {
        "vqa": "several people",
        "relaxed": "none of its answers is a number",
        "choice": "is no letter of A to Z, and it has no `options`",
    }.items():
        with pytest.raises(ValueError, match=words):
            check_own(EvaluationSpec(tasks=(f"{path}:{metric}",)))
    with pytest.raises(ValueError, match="Did you mean 'anls'"):
        check_own(EvaluationSpec(tasks=(f"{path}:anlss",)))
    options = write(folder, first_row(options=["red", "blue"]))
    with pytest.raises(ValueError, match="'exact' does not ask with"):
        check_own(EvaluationSpec(tasks=(f"{options}:exact",)))


def test_a_side_without_images_is_refused(folder: Path) -> None:
    path = write(folder, rows()[:2])
    with pytest.raises(ValueError, match="none of the 1 images"):
        check_own(EvaluationSpec(tasks=(path,)))
    with pytest.raises(ValueError, match="cannot be read"):
        check_own(EvaluationSpec(tasks=(str(folder / "none.json"),)))


def test_every_fault_is_listed(folder: Path) -> None:
    (folder / "1.png").write_bytes(b"no picture")
    given = [*first_row(answer=True), {**rows()[0], "image": "none.png"}]
    count, metric, found = vqa_faults(VqaFile(path=write(folder, given)))
    assert (count, metric, len(found)) == (25, "exact", 3)
    assert "row 0" in found[0]
    assert "row 2" in found[1]
    assert "1.png" in found[1]
    assert "row 24" in found[2]


def test_data_check_tells_questions_from_conversations(folder: Path) -> None:
    path = write(folder, rows())
    assert (
        "mine, 24 questions by metric 'exact': nothing is broken"
        in invoke("data", "check", path).stdout
    )
    done = invoke("data", "check", f"{path}:vqa", "--json", code=1)
    assert len(json.loads(done.stdout)[0]["broken"]) == 24
    turns = [{"from": "human", "value": "question?"}, {"from": "gpt", "value": "yes"}]
    talk = write(folder, [{"id": "0", "conversations": turns}], "talk.json")
    assert "samples" in invoke("data", "check", talk).stdout
