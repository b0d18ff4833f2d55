"""Files of questions through lmms-eval: scores, chance, limits on answers; and the metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.question_files import IMAGES, rows, write
from helpers.scored import evaluate

from trainables.common.store import Store
from trainables.evaluation.own.metrics import chosen, score
from trainables.evaluation.own.preparing import own_files, own_tasks
from trainables.evaluation.request import EvaluationRequest
from trainables.evaluation.targets import load_task, most_tokens
from trainables.evaluation.task_files import write_task_files
from trainables.records.score_table import ScoreTable
from trainables.specs import EvaluationSpec, Split


def asked(settings: EvaluationSpec, folder: Path, split: Split = "search") -> EvaluationRequest:
    store = Store(folder / "store")
    own = own_tasks(settings, store)
    files = own_files(settings, split, folder / "tasks", folder / "arrow", store)
    task_folder = write_task_files(None, split, folder / "tasks", files)
    return EvaluationRequest(tasks=tuple(own), split=split, task_folder=task_folder, own=own)


def test_known_answers_give_known_scores_and_guessing_is_the_majority(
    say: Callable[..., None], folder: Path
) -> None:
    given = [
        *({**row, "answer": "red"} for row in rows(1)),
        *({**row, "question": "and?", "answer": ["blue", "green"]} for row in rows(1)[:3]),
    ]
    for row in given[IMAGES:]:
        row["answers"] = row.pop("answer")
    settings = EvaluationSpec(tasks=(write(folder, given),), search_share=0.5)
    say(lambda text: "Green." if text == "and?" else "yellow")
    found: dict[str, ScoreTable] = {}
    for split in ("search", "report"):
        report, found[split] = evaluate(None, None, asked(settings, folder, split))  # type: ignore[arg-type]
        table = found[split].tasks["mine"]
        more = len(table.scores) - len(set(table.image_ids))
        assert report.tasks["mine"].score == pytest.approx(100 * more / len(table.scores))
        assert report.tasks["mine"].chance == pytest.approx(
            100 * len(set(table.image_ids)) / len(table.scores)
        )
    images = [set(table.tasks["mine"].image_ids) for table in found.values()]
    assert not images[0] & images[1]
    assert len(images[0] | images[1]) == IMAGES
    found["search"].save(folder / "kept.parquet")
    assert ScoreTable.load(folder / "kept.parquet").chance == found["search"].chance


def test_an_image_that_changes_under_way_is_refused(folder: Path) -> None:
    settings = EvaluationSpec(tasks=(write(folder, rows()),))
    task = load_task(asked(settings, folder).task_folder, "mine")
    doc = task.eval_docs[0]
    assert task.doc_to_visual(doc)[0].size == (8, 8)
    Path(doc["path"]).write_bytes(b"other")
    with pytest.raises(ValueError, match="changed meanwhile"):
        task.doc_to_visual(doc)


def test_an_answer_may_be_as_long_as_the_longest_right_one(folder: Path) -> None:
    given = [{**row, "answer": "a very long answer"} for row in rows()]
    for metric, most in {"exact": 2 * 4 + 4, "anls": 3 * 4 + 4, "contains": None}.items():
        request = asked(EvaluationSpec(tasks=(f"{write(folder, given)}:{metric}",)), folder)
        words = most_tokens(request.task_folder, request.info("mine"), lambda t: len(t.split()))
        assert words == most
    task = load_task(request.task_folder, "mine")
    assert task.config.generation_kwargs["max_new_tokens"] == 64 + len("a very long answer")


METRICS: list[tuple[str, str, list[str], float]] = [
    ("exact", " Red. ", ["red"], 1.0),
    ("exact", "dark red", ["red"], 0.0),
    ("exact", "-3", ["3"], 0.0),
    ("contains", "It is a Red one.", ["blue", "red"], 1.0),
    ("contains", "reddish", ["red"], 0.0),
    ("anls", "reb", ["red"], 1 - 1 / 3),
    ("anls", "blue", ["red"], 0.0),
    ("relaxed", "103", ["100"], 1.0),
    ("relaxed", "106", ["100"], 0.0),
    ("relaxed", "Red", ["red"], 1.0),
    # Ten people of whom two said so: for the eight others 2/3, for the two themselves 1/3.
    ("vqa", "a cat", ["cat"] * 2 + ["dog"] * 8, (8 * 2 / 3 + 2 * 1 / 3) / 10),
    ("vqa", "cat", ["cat"] * 4, 1.0),
]


@pytest.mark.parametrize(("metric", "said", "answers", "worth"), METRICS)
def test_metrics_by_hand(metric: str, said: str, answers: list[str], worth: float) -> None:
    assert score(metric, said, answers) == pytest.approx(worth)


def test_which_option_was_chosen() -> None:
    options = ("a red one", "blue")
    said = {"B": "B", "b.": "B", "(B) blue": "B", "Blue": "B", "A red one.": "A", "B: it is": "B"}
    assert {text: chosen(text, options) for text in said} == said
    assert chosen("A large one", options) is None
    assert score("choice", "(b)", ["B"], options) == 1.0
