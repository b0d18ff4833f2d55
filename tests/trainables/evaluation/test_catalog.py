"""Names of tasks are checked on the driver, without torch and lmms-eval."""

import subprocess
import sys

import pytest

from trainables.evaluation.catalog import (
    TASKS,
    asked_tasks,
    embedded_tasks,
    reported_tasks,
    task_of,
)
from trainables.specs import EvaluationSpec


def test_every_task_of_the_study_and_of_the_embedded_models_is_known() -> None:
    assert {"gqa", "scienceqa_img", "pope", "mme", "mmmu_val", "ai2d", "docvqa_val"} < set(TASKS)
    assert [n for n, t in TASKS.items() if t.embedded] == [
        "tiny_attribute",
        "tiny_counting",
        "tiny_existence",
        "tiny_relation",
        "tiny_choice",
        "smol_color",
        "smol_shape",
        "smol_existence",
        "smol_position",
        "smol_either",
    ]
    assert all(0 < t.chance < 100 for t in TASKS.values() if t.embedded and t.chance)
    assert TASKS["pope"].chance == 50


def test_an_empty_list_means_the_embedded_tasks() -> None:
    assert tuple(asked_tasks(EvaluationSpec())) == embedded_tasks()
    assert tuple(asked_tasks(EvaluationSpec(tasks=("pope", "gqa")))) == ("pope", "gqa")


def test_the_two_scores_of_mme_and_a_file_that_is_named_like_a_benchmark() -> None:
    asked = EvaluationSpec(tasks=("mme", "my/gqa_mine.json:anls"))
    assert reported_tasks(asked) == ("mme_cognition", "mme_perception", "gqa_mine")
    assert task_of("mme_perception") is TASKS["mme"]
    assert task_of("gqa_mine") is None


def test_an_unknown_name_suggests_the_nearest_and_lists_all() -> None:
    with pytest.raises(ValueError, match=r"'tiny_counting'\?.*scienceqa_img"):
        asked_tasks(EvaluationSpec(tasks=("tiny_couting",)))


def test_a_repeated_task_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        asked_tasks(EvaluationSpec(tasks=("pope", "pope")))
    for again in ("pope.json", "a/mine.json"):
        with pytest.raises(ValueError, match="twice"):
            asked_tasks(EvaluationSpec(tasks=("pope", "b/mine.parquet", again)))


def test_driver_side_modules_import_neither_torch_nor_lmms_eval() -> None:
    code = (
        "import sys, trainables.evaluation.catalog, trainables.evaluation.scoring, "
        "trainables.models.work, trainables.evaluation.task_files\n"
        "print(sorted({'torch', 'lmms_eval', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_chance_is_one_over_the_number_of_a_kinds_answers() -> None:
    from trainables.embedded.tiny_dataset import generate

    rows = generate("search", 24)
    for kind in rows[0].questions:
        answers = {row.questions[kind].answer for row in rows}
        assert TASKS[f"tiny_{kind}"].chance == 100 / len(answers)
