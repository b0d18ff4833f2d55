"""lmms-eval tasks of a user's own: found, looked at, split by image, scored, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.question_files import IMAGES, rows
from helpers.scored import evaluate

from trainables.common.store import Store
from trainables.evaluation.catalog import asked_tasks, reported_tasks
from trainables.evaluation.isolation import isolated
from trainables.evaluation.own.looking import Look, look, look_at
from trainables.evaluation.own.preparing import check_own, own_contents, own_files, own_tasks
from trainables.evaluation.own.task_yaml import yaml_tasks
from trainables.evaluation.request import EvaluationRequest
from trainables.evaluation.task_files import write_task_files
from trainables.records.score_table import ScoreTable
from trainables.specs import EvaluationSpec, Split

CODE = """
def visual(doc):
    return [doc["image"].convert("RGB")]

def text(doc):
    return doc["question"]

def results(doc, answers):
    right = float(answers[0].strip() == doc["answer"])
    return {"lengths": len(answers[0]), "right": {"score": right, "said": answers[0]}}

def long_ones(dataset):
    return dataset.filter(lambda doc: doc["question"] != "what is 1?")

def none(dataset):
    return dataset.select([])

def sum_of(results):
    return sum(r["score"] for r in results)

def mean_of(results):
    return sum_of(results) / len(results)

def longest(results):
    return max(results)
"""


def task_folder(folder: Path, **changes: Any) -> Path:
    """A task `own` that asks the rows, with its data and code beside it."""
    import datasets

    tasks = folder / "my tasks"
    tasks.mkdir(exist_ok=True)
    given = [{**row, "image": str(folder / row["image"])} for row in rows()]
    table = datasets.Dataset.from_list(given).cast_column("image", datasets.Image())
    table.to_parquet(tasks / "data.parquet")
    (tasks / "utils.py").write_text(CODE)
    (tasks / "_common_yaml").write_text("dataset_path: parquet\noutput_type: generate_until\n")
    settings: dict[str, Any] = {
        "task": "own",
        "include": "_common_yaml",
        "dataset_kwargs": {"data_files": {"test": "data.parquet"}},
        "test_split": "test",
        "doc_to_target": "answer",
        "metric_list": [
            {"metric": "lengths", "aggregation": "CALL longest", "higher_is_better": True},
            {"metric": "right", "aggregation": "CALL mean_of", "higher_is_better": True},
        ],
        **{f"doc_to_{name}": f"CALL {name}" for name in ("visual", "text")},
        "process_results": "CALL results",
        "process_docs": "CALL long_ones",
        **changes,
    }
    written = yaml.safe_dump({k: v for k, v in settings.items() if v is not None})
    (tasks / "own.yaml").write_text(written.replace("CALL ", "!function utils."))
    return tasks


def test_a_folder_is_looked_at_once_split_by_image_and_scored(
    say: Callable[..., None], folder: Path
) -> None:
    settings = EvaluationSpec(task_folders=(str(task_folder(folder)),))
    assert list(asked_tasks(settings)) == ["own"] == list(reported_tasks(settings))
    check_own(settings)
    store = Store(folder / "store")
    (task,) = yaml_tasks(settings).values()
    seen = look_at(task, store)  # in a process of its own
    assert seen.metric == "right"  # `lengths` is no score of 0 to 1
    assert (len(seen.images), len(set(seen.images))) == (IMAGES, IMAGES)  # the others are left out
    assert len(list((folder / "store" / "own-tasks").glob("*/look.json"))) == 1
    say(lambda text: "red")
    found: dict[str, ScoreTable] = {}
    splits: tuple[Split, ...] = ("search", "report")
    for split in splits:
        files = own_files(settings, split, folder / "tasks", folder / "arrow", store)
        request = EvaluationRequest(
            tasks=("own",),
            split=split,
            task_folder=write_task_files(None, split, folder / "tasks", files),
            own=own_tasks(settings, store),
        )
        report, found[split] = evaluate(None, None, request)
        assert report.tasks["own"].score == 100.0 == report.tasks["own"].chance
    images = [set(table.tasks["own"].image_ids) for table in found.values()]
    assert not images[0] & images[1]
    assert len(images[0] | images[1]) == IMAGES


def test_code_and_data_are_in_the_content(folder: Path) -> None:
    settings = EvaluationSpec(task_folders=(str(task_folder(folder)),))
    before = own_contents(settings)
    utils = folder / "my tasks" / "utils.py"
    utils.write_text(CODE.replace("strip()", "strip().lower()"))
    edited = own_contents(settings)
    utils.write_text(CODE)
    assert own_contents(settings) == before != edited
    (folder / "my tasks" / "data.parquet").write_bytes(b"other")
    assert own_contents(settings) != before


def test_what_a_look_refuses(folder: Path) -> None:
    def seen(**changes: Any) -> Look:
        path = task_folder(folder, **changes) / "own.yaml"
        with isolated():
            return look(path)

    assert seen(process_docs="CALL none").error == "it has no samples"
    total = {"metric": "right", "aggregation": "CALL sum_of", "higher_is_better": True}
    error = str(seen(metric_list=[total]).error)
    assert "no metric of it scores samples one by one" in error
    assert "right (its score of the whole is 6, its samples' mean 0.5)" in error


STATIC = {
    "no such file": ({"dataset_kwargs": {"data_files": {"test": "none.parquet"}}}, "not there"),
    "log-likelihood": ({"output_type": "multiple_choice"}, "only answers are scored"),
    "no metric": ({"metric_list": None}, "has no metric_list"),
    "no split": ({"test_split": None}, "has no test_split"),
    "a known name": ({"task": "pope"}, "named like a known task"),
}


@pytest.mark.parametrize("case", STATIC)
def test_what_the_file_says_is_refused_before_anything_is_loaded(folder: Path, case: str) -> None:
    changes, words = STATIC[case]
    settings = EvaluationSpec(task_folders=(str(task_folder(folder, **changes)),))
    with pytest.raises(ValueError, match=words) as refusal:
        check_own(settings)
    assert "\n" not in str(refusal.value)


def test_folders_without_tasks_and_unknown_names(folder: Path) -> None:
    with pytest.raises(ValueError, match="holds no lmms-eval task"):
        check_own(EvaluationSpec(task_folders=(str(folder),)))
    with pytest.raises(ValueError, match="there is no folder or file"):
        check_own(EvaluationSpec(task_folders=(str(folder / "none"),)))
    path = str(task_folder(folder) / "own.yaml")
    with pytest.raises(ValueError, match="did you mean 'own'"):
        asked_tasks(EvaluationSpec(tasks=("onw",), task_folders=(path,)))
    gone = EvaluationSpec(tasks=("own",), task_folders=(str(folder / "gone"),))
    assert reported_tasks(gone) == ("own",)  # a sweep that was run elsewhere can be read
    assert list(asked_tasks(EvaluationSpec(tasks=("textvqa_val",)))) == ["textvqa_val"]
