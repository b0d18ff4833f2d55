"""What a terminal shows at 80, 100 and 140 columns: whole ids, whole numbers, no longer line."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from helpers.command_line import invoke
from helpers.ledgers import lengthen_ids, old_quickstart
from helpers.terminal import ESCAPES, in_terminal
from rich.cells import cell_len
from rich.console import Console

from sweeps.engine.run.lock import run_lock
from sweeps.engine.run.progress import View
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import load_sweep
from trainables.common.files import write_json
from trainables.records import Stage
from trainables.trial.jobs import ReportJob

WIDTHS = (80, 100, 140)
LEFT_OUT = re.compile(r"Left out at (\d+) columns: ([^.]+)\.")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `runs` hold the ledger of a quickstart."""
    folder = tmp_path_factory.mktemp("short")
    old_quickstart(folder / "runs")
    return folder


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with ids of 49 characters."""
    folder = tmp_path_factory.mktemp("long")
    lengthen_ids(old_quickstart(folder / "runs"))
    return folder


def fits(lines: list[str], columns: int) -> str:
    """The lines as one text, after a check that none is longer and nothing is cut."""
    assert max(map(cell_len, lines)) <= columns, [line for line in lines if len(line) > columns]
    text = "\n".join(lines)
    assert "…" not in text
    assert "..." not in text
    return text


def rows_of(lines: list[str], names: set[str]) -> dict[str, list[str]]:
    """The cells of each row, by the id that it begins with."""
    split = (re.split(r"\s{2,}", line.strip()) for line in lines)
    return {cells[0]: cells for cells in split if cells[0] in names}


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("command", ["frontier", "status"])
@pytest.mark.parametrize("ledger", ["short", "long"])
def test_a_table_shows_whole_cells_and_says_what_it_leaves_out(
    ledger: str, command: str, columns: int, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(ledger)
    piped = invoke(command, "quickstart", "--storage", folder / "runs").output.splitlines()
    names = {path.name for path in (folder / "runs" / "quickstart" / "trials").iterdir()}
    complete = rows_of(piped, names)
    lines = in_terminal(columns, folder, command, "quickstart")
    text = fits(lines, columns)
    shown = rows_of(lines, names)
    assert shown.keys() == complete.keys()
    assert len(shown) >= 6
    numbers = {
        name: {cell for cell in cells if cell[0].isdigit()} for name, cells in complete.items()
    }
    for name, cells in shown.items():
        drawn = {cell for cell in cells[1:] if cell[0].isdigit()}
        assert drawn <= numbers[name]
        assert drawn
    left_out = LEFT_OUT.search(" ".join(text.split()))
    assert left_out is not None or columns > 100
    if left_out is not None:
        assert left_out[1] == str(columns)
        header = " ".join(piped)
        assert all(name in header for name in left_out[2].split(", "))


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_recommendation_names_its_trial_whole(long: Path, columns: int) -> None:
    asked = ("recommend", "quickstart", "--max", "weights_mib=6")
    found = json.loads(invoke(*asked, "--storage", long / "runs", "--json").output)
    lines = in_terminal(columns, long, *asked)
    name = found["trial"]["trial_id"]
    assert len(name) == 49
    assert name in fits(lines, columns).split()
    (command,) = (i for i, line in enumerate(lines) if line.startswith("prunesweep export"))
    words = " ".join(lines[command:]).replace(" \\ ", " ").split()
    assert words == ["prunesweep", "export", f"quickstart/{name}", "--to", "DIR"]


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_plan_names_every_trial_whole(short: Path, columns: int) -> None:
    planned = json.loads(invoke("plan", "quickstart", "--json").output)
    text = fits(in_terminal(columns, short, "plan", "quickstart"), columns)
    for row in planned["trials"]:
        assert row["name"] in text.split()


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_live_table_of_a_run_names_the_best_trials_whole(long: Path, columns: int) -> None:
    file = StringIO()
    view = View(Console(file=file, width=columns, force_terminal=True, color_system=None))
    ledger = Ledger(long / "runs", "quickstart")
    view.begin(load_sweep("quickstart", []), 20, ledger)
    view.end()
    lines = [ESCAPES.sub("", line).rstrip() for line in file.getvalue().splitlines()]
    lines.remove("starting Ray ...")  # on a line of its own
    named = set(fits(lines, columns).split())
    assert "best of each cell so far (search split)" in lines
    best: dict[tuple[str, str], float] = {}
    for record in ledger.records().values():
        if record.origin != "reference":
            pruning, scores = record.spec.pruning, record.evaluation
            assert scores is not None
            assert scores.retention is not None
            cell = (pruning.method, pruning.amount)
            best[cell] = max(best.get(cell, 0.0), scores.retention)
    assert len(best) == 8
    assert len(named & ledger.records().keys()) == 8
    assert {f"{100 * value:.1f}" for value in best.values()} <= named


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_live_view_keeps_bar_and_running_trials_apart(long: Path, columns: int) -> None:
    """And counts the jobs of the closing pass."""
    file, ledger = StringIO(), Ledger(long / "runs", "quickstart")
    view = View(Console(file=file, width=columns, force_terminal=True, color_system="truecolor"))
    store, trial = ledger.store, next(name for name in ledger.records() if len(name) == 49)
    job = ReportJob(trial_id=trial, folder=ledger.trials / trial, store=store)
    view.begin(load_sweep("quickstart", []), 20, ledger)
    for name in ("dense", trial):
        view.started(f"report-{name}", job, 3)
    view.ended("report-dense", job, None, None)
    file.truncate(0)
    view.end()
    lines = [ESCAPES.sub("", line).strip("\x00 ") for line in file.getvalue().splitlines()]
    bar = next(i for i, line in enumerate(lines) if line.startswith("━"))
    assert lines[bar - 2].startswith("20 of 20 trials done, 1 running, 0 failed")
    assert lines[bar - 1] == "closing pass: 1 of 3 jobs done"
    assert lines[bar + 2] == ""
    head, rule, row = lines[bar + 3 : bar + 6]
    assert head.split() == ["running", "stage", "seconds"]
    assert set(rule) == {"─"}
    assert row.split() == [f"report-{trial}", "report", "split", "0"]
    fits(lines, columns)


@pytest.mark.parametrize("columns", WIDTHS)
def test_status_shows_what_running_trials_are_at(tmp_path: Path, columns: int) -> None:
    """Stage and time, in the table and in the JSON, which holds what the table holds."""
    folder = old_quickstart(tmp_path / "runs")
    trials, then = folder / "trials", datetime.now(UTC) - timedelta(seconds=100)
    at = {"002-widthwise-15-projector-ce": "recover", "dense": "starting"}
    for name in (*at, "003-layerwise-30-joint-ce"):
        (trials / name / "record.json").unlink()
    for name in at:
        write_json(trials / name / "attempt.json", {"attempt": "a", "pid": 1})
    stage = Stage(stage="recover", since=then.isoformat())
    write_json(trials / "002-widthwise-15-projector-ce" / "stage.json", stage)
    with run_lock(folder):
        (found,) = json.loads(
            invoke("status", "quickstart", "--json", "--storage", tmp_path / "runs").output
        )
        text = fits(in_terminal(columns, tmp_path, "status", "quickstart"), columns)
    rows = {row["trial_id"]: row for row in found["rows"]}
    assert rows.keys() == {path.name for path in trials.iterdir()}
    running = {name: row["stage"] for name, row in rows.items() if row["status"] == "running"}
    assert running == at | {"003-layerwise-30-joint-ce": "waiting"}
    assert 100 <= rows["002-widthwise-15-projector-ce"]["stage_seconds"] < 160
    assert rows["002-widthwise-15-projector-ce"]["label"] == "widthwise 0.15 projector ce 5% data"
    assert re.search(r"002-widthwise-15-projector-ce .*recover\b", text)
    assert re.search(r" [12]:\d\d\b", text)  # beside it, or on the next line
    assert "dense" in text.split()
    done = rows["019-layerwise-15-none"]
    assert (done["status"], done["origin"]) == ("completed", "sampler")
    assert (round(done["retention_search"], 3), round(done["retention_report"], 3)) == (
        0.987,
        0.994,
    )


def test_a_run_says_at_once_that_it_has_begun(tmp_path: Path) -> None:
    """Before it loads what checks a sweep, let alone Ray; what is refused says so all the same."""
    lines = in_terminal(80, tmp_path, "run", "quickstart", "--set", "trial.workers=3", code=2)
    assert "checking the sweep" in lines[0]
    assert lines[-2].startswith("error: ") or "error: " in "".join(lines)


def test_what_a_run_prints_at_its_end_names_the_frontier_whole(long: Path) -> None:
    lines = in_terminal(80, long, "run", "quickstart")
    end = lines.index("Frontier of quickstart: retention against weights_mib")
    front = json.loads((long / "runs" / "quickstart" / "frontier.json").read_text())
    rows = rows_of(lines[end:], {point["trial_id"] for point in front["points"]})
    assert len(rows) == len(front["points"]) == 6
    below = lines.index("20 trials completed, 0 stopped early, 0 failed; 0 jobs in this run.")
    fits(lines[end:below], 80)


def test_status_marks_the_frontier(short: Path) -> None:
    storage = short / "runs"
    front = json.loads(invoke("frontier", "quickstart", "--storage", storage, "--json").output)
    lines = invoke("status", "quickstart", "--storage", storage).output.splitlines()
    start, end = (at := next(li for li in lines if "frontier" in li).index("frontier")), at + 8
    marked = {line.split()[0] for line in lines if line[start:end].strip() == "yes"}
    assert marked == {point["trial_id"] for point in front["points"]}
    assert len(marked) >= 6
