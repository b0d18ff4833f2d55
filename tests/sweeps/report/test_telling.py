"""What the engine tells a report, and the command that writes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.command_line import invoke, refused
from helpers.ledgers import old_quickstart
from helpers.pages import Page
from helpers.trials import make_dense, make_trial, write_requests, write_sweep

from analysis.load import load_trials
from sweeps.engine.report.random_search import random_course
from sweeps.engine.report.repeating import repeat_commands
from sweeps.engine.report.telling import report_of
from sweeps.engine.spec.loading import load_sweep
from trainables.records import RECORD, SWEEP


def test_a_finished_sweep(tmp_path: Path) -> None:
    folder = old_quickstart(tmp_path)
    told = report_of(folder).told
    seconds = [
        sum(t.record.cost.device_seconds.values()) for t in load_trials(folder) if t.record.cost
    ]
    assert sum(told.stages.values()) == pytest.approx(sum(seconds))
    assert max(told.stages, key=lambda name: told.stages[name]) == "recovery"
    assert told.progress[0].startswith("spent ")
    assert told.unfinished == 0
    assert told.repeat == ("prunesweep run quickstart --set startup_samples=2 --storage again",)
    assert told.storage == f" --storage {tmp_path}"


def test_a_sweep_that_is_at_work(tmp_path: Path) -> None:
    folder = old_quickstart(tmp_path)
    for name in ("018-widthwise-60-joint-ce", "019-layerwise-15-none"):
        (folder / "trials" / name / RECORD).unlink()
    report = report_of(folder)
    assert report.told.unfinished == 2
    assert sum(report.counts.values()) == 17


def test_the_command_that_repeats_a_sweep_gives_the_same_sweep(tmp_path: Path) -> None:
    import shlex

    sweep = load_sweep("quickstart", ["samples=3", "trial.recovery.lora_rank=4", "priors=false"])
    (command,) = repeat_commands(sweep, tmp_path)
    words = shlex.split(command)
    settings = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    assert load_sweep(words[2], settings) == sweep
    own = sweep.model_copy(update={"name": "mine"})
    (tmp_path / SWEEP).write_text(own.model_dump_json())
    copy, run = repeat_commands(own, tmp_path)
    words = shlex.split(copy)
    shutil.copy(words[1], tmp_path / words[2])
    assert run == "prunesweep run mine.yaml --storage again"
    assert load_sweep(str(tmp_path / "mine.yaml")) == own


def test_a_random_search_is_told_of_the_tables_model_only() -> None:
    trials = [make_dense(), *(make_trial(f"t{i}", 0.9) for i in range(20))]
    quickstart = load_sweep("quickstart")
    found = random_course(quickstart, trials)
    assert found[-1].trials >= quickstart.samples
    shares = [moment.cost for moment in found]
    assert None not in shares
    assert shares == sorted(shares)  # type: ignore[type-var]
    assert random_course(load_sweep("realistic"), trials) == ()
    assert random_course(quickstart, trials[:9]) == ()
    more = load_sweep("quickstart", ["trial.recovery.budget.epochs=2"])
    assert random_course(more, trials) == ()


def test_the_command_writes_a_page_beside_the_frontier(tmp_path: Path) -> None:
    folder = old_quickstart(tmp_path)
    said = invoke("report", "quickstart", "--storage", tmp_path).stdout
    assert said.strip() == str(folder / "report.html")
    page = Page((folder / "report.html").read_text())
    assert page.texts["h1"] == ["quickstart"]
    assert "Which recipe" in page.texts["h2"]
    assert "0.60" in page.figures["s0-recipes"]["layout"]["xaxis"]["ticktext"]
    assert "prunesweep run quickstart --set startup_samples=2 --storage again" in page.texts["code"]
    found = json.loads(invoke("report", "quickstart", "--json", "--storage", tmp_path).stdout)
    assert found["smallest"][0]["trial"]["trial_id"] == "014-layerwise-45-joint-ce+kl"
    assert set(found["frontiers"]) >= {"weights_mib", "tflops", "latency_ms", "recovery_tflops"}
    assert found["made"]["versions"]["torch"] == {"2.13.0": 29}


def test_several_sweeps_and_published_points(tmp_path: Path) -> None:
    for name in ("one", "two"):
        trials = [make_dense(report=1.0, sweep=name), make_trial("a", report=0.8, sweep=name)]
        write_sweep(tmp_path, trials, name)
    where = ("--storage", tmp_path)
    said = invoke("report", "one", "two", "one", *where).stdout
    assert said.strip() == str(tmp_path / "report_one_two.html")
    assert [r["sweep"] for r in json.loads(invoke("report", "one", "two", "--json", *where).stdout)
            ] == ["one", "two"]  # fmt: skip
    to = tmp_path / "here.html"
    invoke("report", "one", *where, "--to", to, "--published", "llava-v1.5-7b")
    page = Page(to.read_text())
    drawn = [n for n, f in page.figures.items() for t in f["data"]
             if t.get("legendgroup") == "published"]  # fmt: skip
    assert set(drawn) == {f"s0-frontier-{x}" for x in ("weights_mib", "tflops", "kept")}
    invoke("report", "one", *where, "--to", tmp_path / "two")
    assert (tmp_path / "two" / "report.html").exists()


def test_what_the_command_refuses(tmp_path: Path) -> None:
    old_quickstart(tmp_path)
    where = ("--storage", tmp_path)
    assert "did you mean 'quickstart'" in refused("report", "quikstart", *where)
    trials = [make_dense(), make_trial("a")]
    write_requests(write_sweep(tmp_path, trials, "mine"), trials)
    assert "cannot be compared: scores are of" in refused("report", "quickstart", "mine", *where)
    to = tmp_path / "missing" / "x.html"
    assert "the report cannot be written" in refused("report", "quickstart", *where, "--to", to)
    assert "bunny-v1.0-3b" in refused("report", "mine", *where, "--published", "bunny")
