"""Scores task by task, MME's own points beside."""

from helpers.trials import make_dense, make_trial

from analysis.frontier import find_frontier
from analysis.task_view import task_rows, tasks_table
from trainables.records import TaskScore


def test_every_task_is_a_column_with_its_error() -> None:
    trials = [make_trial("a", 0.9, report=0.5, weights_mib=6.0), make_dense(report=1.0)]
    rows = task_rows(trials, find_frontier(trials))
    assert [row.trial_id for row in rows] == ["a", "dense"]
    assert [row.retention for row in rows] == [0.5, 1.0]
    header, first, *_ = text = tasks_table(rows).plain().splitlines()
    assert header.split()[:4] == ["trial", "configuration", "tiny_attribute", "tiny_counting"]
    assert "49.0 +/- 1.0 47.0 +/- 1.0 48.0 +/- 0.7 50.0%" in " ".join(
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


def test_no_trials() -> None:
    assert "No completed trial yet" in tasks_table([]).plain()
