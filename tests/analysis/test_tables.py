"""Tables in their three forms."""

from io import StringIO

import pytest
from helpers.trials import make_dense, make_trial
from rich.console import Console

from analysis.frontier import find_frontier
from analysis.tables import (
    TextTable,
    frontier_table,
    number,
    task_rows,
    tasks_table,
    trial_rows,
    trials_table,
    with_error,
)
from trainables.records import TaskScore

TRIALS = [
    make_trial("a", 0.93, report=0.912, se=0.008, weights_mib=8.0),
    make_trial("[b]", 0.7, weights_mib=9.0),
    make_dense(report=1.0),
]


def shown(table: TextTable) -> str:
    console = Console(file=StringIO(), width=220)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_frontier_quotes_the_report_split_with_intervals() -> None:
    front = find_frontier(TRIALS)
    table = frontier_table(front)
    for text in (shown(table), table.plain(), table.markdown()):
        assert "91.2 [89.6, 92.8]" in text  # 1.96 errors of 0.8
        assert "93.0" not in text
        assert "report split" in text
        assert "dense (reference)" in text
        assert "reference point weights_mib=16.0, retention=0 (dense base)" in " ".join(
            text.split()
        )


def test_markdown_is_a_table_of_as_many_columns_as_its_header() -> None:
    lines = frontier_table(find_frontier(TRIALS)).markdown().splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert lines[1].startswith("| --- | --- | ---: |")


def test_trials_show_both_splits_and_the_frontier() -> None:
    front = find_frontier(TRIALS)
    text = trials_table(trial_rows(TRIALS, front)).plain()
    first = next(line for line in text.splitlines() if line.startswith("a "))
    assert "93.0 +/- 0.8" in first
    assert "91.2 +/- 0.8" in first
    assert first.endswith("yes")
    assert "[b]" in shown(trials_table(trial_rows(TRIALS, front)))  # not taken for markup


def test_no_trials() -> None:
    assert "No trial has begun yet" in shown(trials_table([]))
    assert frontier_table(find_frontier([])).plain().startswith("trial")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0"), (0.000523, "0.000523"), (4.256, "4.26"), (12.34, "12.3"),
     (13546.4, "13,546")],
)  # fmt: skip
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_errors_of_the_dense_base_are_left_out() -> None:
    assert with_error(1.0, 0.0) == "100.0"
    assert with_error(None, None) == "-"


def test_the_axis_of_the_frontier_has_a_column() -> None:
    front = find_frontier([make_dense(), make_trial("a", 0.9, weights_mib=5.0)], "kept")
    header, first, *_ = frontier_table(front).plain().splitlines()
    assert "recovery TFLOPs  kept" in header
    end = header.index("kept") + len("kept")
    (point,) = (p for p in front.points if p.trial_id == first.split()[0])
    assert float(first[:end].split()[-1]) == pytest.approx(point.kept, rel=0.01)


def test_every_task_is_a_column_with_its_error() -> None:
    trials = [make_trial("a", 0.9, report=0.5, weights_mib=6.0), make_dense(report=1.0)]
    rows = task_rows(trials, find_frontier(trials))
    assert [row.trial_id for row in rows] == ["a", "dense"]
    assert [row.retention for row in rows] == [0.5, 1.0]
    header, first, *_ = text = tasks_table(rows).plain().splitlines()
    assert header.split()[:4] == ["trial", "configuration", "tiny_attribute", "tiny_counting"]
    assert "49.0 +/- 1.0 47.0 +/- 1.0 48.0 +/- 0.7 50.0 [48.0, 52.0]" in " ".join(
        first.split()
    )  # half of 96, +- 1
    assert "on the report split" in text[-1]
    assert "MME's own scale" not in text[-1]


def test_mme_shows_its_points() -> None:
    trials = [make_trial("a", 0.9)]
    (row,) = task_rows(trials, find_frontier(trials))
    score = TaskScore(score=45.4, stderr=2.0, samples=60, raw=363.2)
    text = tasks_table([row.model_copy(update={"tasks": {"mme_cognition": score}})]).plain()
    assert "45.4 +/- 2.0 (363)" in text
    assert "MME's own scale" in text


def test_no_trials_have_no_tasks() -> None:
    assert "No completed trial yet" in tasks_table([]).plain()
