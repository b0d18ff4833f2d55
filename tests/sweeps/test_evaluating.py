"""`prunesweep evaluate`: what it prints, and what it refuses before torch is imported."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import invoke
from helpers.ledgers import UNTRAINED, old_quickstart
from helpers.trials import make_evaluation, make_trial, write_sweep

from sweeps.engine.cli.app import quiet_libraries
from trainables.common.files import read_json, write_json
from trainables.records import RECORD, REPORT, REPORT_SAMPLES, ClosingReport
from trainables.specs import EvaluationSpec, ModelSpec


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tinny"], "Did you mean 'tiny'"),
        (["tiny", "--tasks", "tiny_chose"], "did you mean 'tiny_choice'"),
        (["tiny", "--tasks", "tiny_choice,tiny_choice"], "names a task twice"),
        (["tiny", "--against", "tinny"], "Did you mean 'tiny'"),
        (["tiny", "--tasks", "pope"], "and give --data-folder DIR"),
        (["/"], "/ has no config.json"),
    ],
)
def test_bad_names_are_refused_in_one_line(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = invoke("evaluate", *arguments, "--storage", tmp_path, code=2)
    assert result.stderr.count("error:") == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert "scoring" not in result.stderr  # before a model is loaded


def test_an_unknown_name_lists_the_trials_too(tmp_path: Path) -> None:
    write_sweep(tmp_path, [make_trial("000-widthwise", 0.9)])
    result = invoke("evaluate", "000-layerwise", "--storage", tmp_path, code=2)
    assert "neither a known model nor a folder" in result.stderr
    assert "000-widthwise" in result.stderr


def test_a_trial_is_scored_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another share would put images that the search chose it by on the report split."""
    trial = make_trial("t", 0.9)
    write_sweep(tmp_path, [trial])
    own = EvaluationSpec(
        tasks=("tiny_choice",), search_share=0.3, subset_seed=4, data_folder="copies"
    )
    update = {"evaluation": own, "model": ModelSpec(dtype="bfloat16")}
    record = trial.record.model_copy(update={"spec": trial.record.spec.model_copy(update=update)})
    write_json(tmp_path / "demo" / "trials" / "t" / RECORD, record)
    asked: list[Any] = []

    def assess(target: Any, settings: Any, *_: Any, against: Any, **__: Any) -> Any:
        asked.append((settings, against))
        return make_evaluation("report", 0.9, 0.01, dense=False)

    monkeypatch.setattr("trainables.trial.closing.assess", assess)
    invoke("evaluate", "t", "--against", "tiny", "--limit", 7, "--storage", tmp_path)
    invoke("evaluate", "t", "--tasks", "tiny_counting", "--data-folder", "other",
           "--storage", tmp_path)  # fmt: skip
    (first, against), (second, _) = asked
    assert (first.tasks, first.search_share, first.subset_seed) == (("tiny_choice",), 0.3, 4)
    assert (first.data_folder, first.report_limit, against.dtype) == ("copies", 7, "bfloat16")
    assert (second.tasks, second.data_folder) == (("tiny_counting",), "other")
    refused = invoke("evaluate", "t", "--dtype", "float32", "--storage", tmp_path, code=2)
    assert "is a student in bfloat16" in refused.stderr


def test_a_benchmark_without_a_copy_is_refused_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.trial.closing.assess", lambda *_, **__: pytest.fail("too late"))
    result = invoke("evaluate", "tiny", "--tasks", "gqa", "--storage", tmp_path, code=2)
    assert "needs a local copy" in result.stderr


def test_scores_and_retention_are_printed(tmp_path: Path) -> None:
    given = ["evaluate", "tiny", "--tasks", "tiny_choice,tiny_counting", "--limit", 6]
    given += ["--against", "tiny", "--storage", tmp_path]
    said = json.loads(invoke(*given, "--json").stdout)
    assert said["split"] == "report"
    assert {task: score["samples"] for task, score in said["tasks"].items()} == {
        "tiny_choice": 6,
        "tiny_counting": 6,
    }
    assert said["retention"] == 1.0
    table = invoke(*given).stdout
    assert "retention 1.0000 ± 0.0000" in table
    assert f"average {said['average']:.2f}" in table
    assert "tiny_counting" in table


def test_models_of_the_same_weights_are_told_apart(tmp_path: Path) -> None:
    """Another config computes other answers, and whoever is scored first keeps its own."""
    from trainables.models.families.registry import TINY_FOLDER

    other = tmp_path / "other"
    shutil.copytree(TINY_FOLDER, other)
    config = json.loads((other / "config.json").read_text())
    config["text_config"]["rope_parameters"]["rope_theta"] = 100.0
    (other / "config.json").write_text(json.dumps(config))
    given = ("--tasks", "tiny_choice,tiny_counting", "--limit", 40, "--json", "--storage")

    def evaluated(*models: object, storage: str = "runs") -> Any:
        said = invoke("evaluate", *models, *given, tmp_path / storage).stdout
        return json.loads(said)

    alone = [evaluated(model, storage=str(n))["average"] for n, model in enumerate((other, "tiny"))]
    there = evaluated(other, "--against", "tiny")
    back = evaluated("tiny", "--against", other)
    assert [there["average"], back["average"]] == alone
    assert there["retention"] == pytest.approx(1 / back["retention"])
    assert 0.3 < there["retention"] < 0.8


@pytest.mark.parametrize("name", ["torch.utils._pytree", "DeepSpeed"])
def test_libraries_are_heard_of_errors_only(name: str, caplog: pytest.LogCaptureFixture) -> None:
    quiet_libraries()
    logger = logging.getLogger(name)
    logger.addHandler(caplog.handler)  # DeepSpeed's does not propagate once it is imported
    try:
        logger.warning("what it says of itself")
        logger.error("what went wrong")
    finally:
        logger.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {"what went wrong"}


def test_a_trial_that_the_closing_pass_passed_over_is_scored_and_counts(tmp_path: Path) -> None:
    sweep = old_quickstart(tmp_path)
    report = sweep / "trials" / UNTRAINED / REPORT
    before = read_json(report, ClosingReport).evaluation
    report.unlink()
    (report.parent / REPORT_SAMPLES).unlink()
    told = invoke("recommend", "quickstart", "--storage", tmp_path).stdout
    assert "have no score on the report split" in told
    assert f"prunesweep score quickstart/TRIAL --storage {tmp_path}" in told
    printed = invoke("score", UNTRAINED[:3], "--storage", tmp_path).stdout
    after = read_json(report, ClosingReport)
    assert after.latency is not None
    assert after.evaluation.retention == pytest.approx(before.retention)
    assert f"{UNTRAINED}: retention {100 * before.retention:.1f} % (" in printed
    written = report.stat().st_mtime_ns
    invoke("score", UNTRAINED, "--storage", tmp_path)
    assert report.stat().st_mtime_ns == written, "what is there is not scored again"


def test_a_failed_trial_is_not_scored(tmp_path: Path) -> None:
    write_sweep(tmp_path, [make_trial("a", status="failed")])
    assert "trial a is failed" in invoke("score", "a", "--storage", tmp_path, code=2).stderr
