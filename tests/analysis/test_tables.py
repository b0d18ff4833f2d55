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
    trials_table,
    with_error,
)

TRIALS = [
    make_trial("a", 0.93, report=0.912, se=0.008, weights_mib=8.0),
    make_trial("[b]", 0.7, weights_mib=9.0),
    make_dense(report=1.0),
]


def shown(table: TextTable) -> str:
    console = Console(file=StringIO(), width=220)
    console.print(table.rich())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_frontier_quotes_the_report_split_with_errors() -> None:
    front = find_frontier(TRIALS)
    table = frontier_table(front)
    for text in (shown(table), table.plain(), table.markdown()):
        assert "91.2 +/- 0.8" in text
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
    text = trials_table(TRIALS, front).plain()
    first = next(line for line in text.splitlines() if line.startswith("a "))
    assert "93.0 +/- 0.8" in first
    assert "91.2 +/- 0.8" in first
    assert first.endswith("yes")
    assert "[b]" in shown(trials_table(TRIALS, front))  # not taken for markup


def test_no_trials() -> None:
    assert "No trial has ended yet" in shown(trials_table([]))
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
