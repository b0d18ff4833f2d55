"""`data fetch`, `data check` on copies, and what plan and run refuse about tasks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.benchmark_hub import pope_rows, write_hub
from helpers.command_line import invoke, refused

from sweeps.engine.search.agenda import trial_key
from trainables.evaluation.benchmarks import BENCHMARKS
from trainables.models.families.registry import language_shape
from trainables.specs import EvaluationSpec, ModelSpec, TrialSpec

SWEEP = """
from sweeps.engine.spec import SweepSpec

sweep = SweepSpec(name="s", question="?", designed=({"method": "layerwise", "ratio": 0.45,
    "scope": "none"},), priors=False, strata={"ratio": (0.45,)})
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.py"
    path.write_text(SWEEP)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """POPE in the hub's layout: four questions on each of six images."""
    folder = tmp_path_factory.mktemp("POPE")
    write_hub(folder, "pope", None, "test", pope_rows())
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# POPE\n")
    return folder


def test_fetch_tells_what_there_is() -> None:
    rows = json.loads(invoke("data", "fetch", "--json").stdout)
    assert [row["task"] for row in rows] == list(BENCHMARKS)
    assert not any(row["copied"] for row in rows)
    (row,) = json.loads(invoke("data", "fetch", "mme", "--list", "--json").stdout)
    assert row["hub"] == "lmms-lab-encoder/MME"
    shown = invoke("data", "fetch").stdout
    assert "scoring needs java" in shown
    assert "CC BY-NC-SA 4.0" in shown


def test_fetch_check_and_list_a_copy(source: Path, tmp_path: Path) -> None:
    to = tmp_path / "copies"
    said = invoke("data", "fetch", "pope", "--to", to, "--source", source).stdout
    assert "pope: fetched, 24 questions" in said
    assert "licence by the hub's card: mit; known here: MIT" in said
    assert f"--set trial.evaluation.data_folder={to}" in said
    (card,) = json.loads(invoke("data", "fetch", "pope", "--to", to, "--json").stdout)
    assert (card["fetched_now"], card["rows"], card["licence"]) == (False, 24, "mit")
    rows = json.loads(invoke("data", "fetch", "--to", to, "--json").stdout)
    assert [row["task"] for row in rows if row["copied"]] == ["pope"]
    assert "pope, 24 questions: nothing is broken" in invoke("data", "check", to).stdout
    _spoil(to / "pope", row=21)
    (found,) = json.loads(invoke("data", "check", to / "pope", "--json", code=1).stdout)
    altered, unreadable = found["broken"]
    assert "questions.parquet: its content is not what pope's card says" in altered
    assert unreadable.startswith("row 21 of ")
    assert "pope, 24 questions: 2 faults" in invoke("data", "check", to, code=1).stdout


def _spoil(copy: Path, row: int) -> None:
    """Replace one picture by something else, as a careless edit would."""
    path = copy / "questions.parquet"
    table = pq.read_table(path)
    cells = table["image"].to_pylist()
    cells[row] = {"bytes": b"no picture", "path": None}
    at = table.schema.get_field_index("image")
    field = table.schema.field("image")
    pq.write_table(table.set_column(at, field, pa.array(cells, field.type)), path)
    card = json.loads((copy / "copy.json").read_text())
    card["files"][path.name]["size_bytes"] = path.stat().st_size
    (copy / "copy.json").write_text(json.dumps(card))


def test_check_looks_at_every_copy(source: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        invoke("data", "fetch", "pope", "--to", tmp_path / name, "--source", source)
    copies = tmp_path / "copies"
    copies.mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / name / "pope").rename(copies / name)
    (copies / "a" / "questions.parquet").unlink()
    (copies / "b" / "copy.json").write_text("{")
    said = invoke("data", "check", copies, code=1).stdout
    assert "pope, 24 questions: nothing is broken" in said
    assert "b: 1 fault\n" in said
    first, second, third = json.loads(invoke("data", "check", copies, "--json", code=1).stdout)
    assert "has no file questions.parquet" in first["broken"][0]
    assert "copy.json cannot be read" in second["broken"][0]
    assert (second["rows"], third["rows"], third["broken"]) == (None, 24, [])


def test_check_of_a_folder_without_copies(tmp_path: Path) -> None:
    assert "is a folder without copies of benchmarks" in refused("data", "check", tmp_path)


def test_fetch_does_not_pass_a_copy_off_as_another_revision(source: Path, tmp_path: Path) -> None:
    invoke("data", "fetch", "pope", "--to", tmp_path, "--source", source)
    said = refused("data", "fetch", "pope", "--to", tmp_path, "--revision", "abc")
    assert "is of revision unknown, and --revision abc is asked for" in said


def test_fetch_of_another_dataset_is_one_line(source: Path, tmp_path: Path) -> None:
    said = refused("data", "fetch", "gqa", "--to", tmp_path, "--source", source)
    assert "has no data of the config 'testdev_balanced_instructions'" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pop", "--to", "x"], "'pop' is not a known public task. Did you mean 'pope'?"),
        (["tiny_choice", "--to", "x"], "'tiny_choice' comes along"),
        (["pope"], "--to DIR"),
        (["pope", "gqa", "--to", "x", "--source", "."], "for one task"),
        (["pope", "--to", "x", "--source", "nowhere"], "give an existing folder"),
    ],
)
def test_fetch_refuses(arguments: list[str], message: str) -> None:
    assert message in refused("data", "fetch", *arguments)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("[pope, gqqa]", "unknown task 'gqqa'; did you mean 'gqa'?"),
        ("[mathvista_testmini_cot]", "scores it with a judge model, which is not supported"),
        ("[textvqa]", "lmms-eval has a group of that name; name its tasks"),
        ("[pope, pope]", "names a task twice"),
    ],
)
def test_plan_refuses_tasks(tasks: str, message: str, sweep: Path, tmp_path: Path) -> None:
    given = ("--set", f"trial.evaluation.tasks={tasks}", "--storage", tmp_path / "runs")
    assert message in refused("plan", sweep, *given)
    assert not (tmp_path / "runs").exists()


def test_plan_refuses_what_this_machine_cannot_score(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--storage", tmp_path / "runs", "--set"]
    monkeypatch.setenv("PATH", "")
    said = refused("plan", sweep, *given, "trial.evaluation.tasks=[coco2017_cap_val]")
    assert "needs java for its scores" in said
    monkeypatch.setitem(sys.modules, "Levenshtein", None)
    said = refused("plan", sweep, *given, "trial.evaluation.tasks=[mathvista_testmini_format]")
    assert "pip install 'prunesweep[mathvista]'" in said


def test_plan_goes_without_data_and_run_does_not(sweep: Path, source: Path, tmp_path: Path) -> None:
    storage = ("--storage", tmp_path / "runs")
    task = ("--set", "trial.evaluation.tasks=[pope]")
    said = invoke("plan", sweep, *storage, *task).stdout
    assert "`prunesweep data fetch pope --to DIR`" in said
    said = refused("run", sweep, *storage, *task)
    assert "prunesweep data fetch pope --to DIR" in said
    assert "--set trial.evaluation.data_folder=DIR" in said
    assert not (tmp_path / "runs").exists()
    folder = ("--set", f"trial.evaluation.data_folder={tmp_path / 'copies'}")
    assert "no copy of task 'pope' in" in refused("plan", sweep, *storage, *task, *folder)
    invoke("data", "fetch", "pope", "--to", tmp_path / "copies", "--source", source)
    assert "data fetch" not in invoke("plan", sweep, *storage, *task, *folder).stdout
    (tmp_path / "copies" / "pope" / "questions.parquet").unlink()
    assert "has no file questions.parquet" in refused("plan", sweep, *storage, *task, *folder)


def test_where_the_copies_lie_makes_no_other_trial() -> None:
    shape = language_shape(ModelSpec(path="tiny"))
    keys = [
        trial_key(TrialSpec(evaluation=EvaluationSpec(tasks=("pope",), **given)), shape)
        for given in ({"data_folder": "a"}, {"data_folder": "b"}, {"search_share": 0.4})
    ]
    assert keys[0] == keys[1] != keys[2]


def test_list_says_what_a_task_needs() -> None:
    tasks = json.loads(invoke("list", "--json").stdout)["tasks"]
    assert tasks["coco2017_cap_val"].endswith("needs a local copy, java, pycocoevalcap")
    assert "CC BY-NC-SA" in tasks["scienceqa_img"]
    assert tasks["tiny_choice"] == "multiple choice by letter"
