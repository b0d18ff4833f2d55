"""The table of benchmarks says what lmms-eval's own task files say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trainables.evaluation.benchmarks import BENCHMARKS
from trainables.evaluation.benchmarks.installed import code_version, task_yaml, why_unsupported
from trainables.evaluation.catalog import asked_tasks
from trainables.specs import EvaluationSpec


@pytest.mark.parametrize("task", list(BENCHMARKS))
def test_hub_config_split_and_metric_are_lmms_evals(task: str) -> None:
    from lmms_eval.utils import load_yaml_config

    known = BENCHMARKS[task]
    own = load_yaml_config(str(task_yaml(known)), mode="simple")
    assert own["task"] == task
    assert own["dataset_path"] == known.hub
    assert own.get("dataset_name") == known.config
    assert own["test_split"] == known.split
    assert own["output_type"] == "generate_until"
    metrics = [entry["metric"] for entry in own["metric_list"]]
    wanted = ["mme_perception_score", "mme_cognition_score"] if task == "mme" else [known.metric]
    assert set(wanted) <= set(metrics)
    limit = own["generation_kwargs"]["max_new_tokens"]
    assert known.max_new_tokens is None or known.max_new_tokens < limit


def test_every_benchmark_names_its_licence_and_its_images() -> None:
    for known in BENCHMARKS.values():
        assert known.licence
        assert set(known.key) <= set(known.columns)
        assert known.image_columns or known.images_config
        assert known.key or known.image_columns


def test_a_version_names_lmms_eval_and_its_code() -> None:
    versions = {code_version(known) for known in BENCHMARKS.values()}
    assert len(versions) == len(BENCHMARKS)
    assert all(version.startswith("0.7.") for version in versions)


def test_tasks_with_a_judge_are_told_apart_from_misspelt_ones() -> None:
    assert "judge" in str(why_unsupported("mathvista_testmini_cot"))
    assert "judge" not in str(why_unsupported("textvqa_val"))
    assert why_unsupported("gqqa") is None
    with pytest.raises(ValueError, match=r"judge model.*did you mean 'mathvista_testmini_format'"):
        asked_tasks(EvaluationSpec(tasks=("mathvista_testmini_cot",)))
    with pytest.raises(ValueError, match="did you mean 'mathvista_testmini_format'"):
        asked_tasks(EvaluationSpec(tasks=("mathvista",)))


def test_what_is_off_by_default_is_in_no_default_list() -> None:
    off = {name for name, known in BENCHMARKS.items() if known.off_by_default}
    assert off == {"mathvista_testmini_format"}
    assert not off & set(asked_tasks(EvaluationSpec()))
    assert off == set(asked_tasks(EvaluationSpec(tasks=tuple(off))))


def test_what_the_driver_imports_of_it_is_light() -> None:
    code = (
        "import sys, trainables.evaluation.benchmarks.preparing\n"
        "import sweeps.engine.show.data_report\n"
        "print(sorted({'torch', 'lmms_eval', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
