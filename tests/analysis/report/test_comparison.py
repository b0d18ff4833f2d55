"""Several sweeps on one page, and which of them do not compare."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.pages import page_of, report_without_engine
from helpers.trials import make_dense, make_trial, write_sweep

from analysis.report.comparison import check_comparable, common_axes


def sweep(
    storage: Path, name: str, *, report: bool = True, dense: bool = True, **more: float
) -> Path:
    quoted = {"report": 0.8} if report else {}
    base = {"report": 1.0} if report else {}
    trials = [make_trial("a", 0.82, weights_mib=8.0, sweep=name, **quoted, **more)]
    return write_sweep(storage, trials + ([make_dense(sweep=name, **base)] if dense else []), name)


def test_the_frontiers_lie_in_one_picture(tmp_path: Path) -> None:
    folders = [sweep(tmp_path, "one"), sweep(tmp_path, "two", recovery_tflops=9.0)]
    check_comparable([report_without_engine(folder) for folder in folders])
    page = page_of(*folders)
    assert page.texts["h2"] == ["Side by side", "one", "two"]
    lines = page.figures["compared-recovery_tflops"]["data"]
    assert [(t["name"], t["x"], t["y"]) for t in lines] == [
        ("one", [5.0], [80.0]), ("two", [9.0], [80.0]),
    ]  # fmt: skip
    assert {name for name in page.figures if not name.startswith("compared-")} == set()


def test_latencies_of_two_devices_are_not_laid_on_each_other(tmp_path: Path) -> None:
    found = []
    for name in ("cpu", "other"):
        trials = [
            make_trial("a", 0.8, report=0.8, latency_ms=9.0, device=name, sweep=name),
            make_dense(report=1.0, latency_ms=20.0, device=name, sweep=name),
        ]
        found.append(report_without_engine(write_sweep(tmp_path, trials, name)))
    check_comparable(found)
    assert "latency_ms" in found[0].frontiers
    assert "latency_ms" not in common_axes(found)
    assert "weights_mib" in common_axes(found)


def test_what_does_not_compare_is_refused_with_the_reason(tmp_path: Path) -> None:
    plain = report_without_engine(sweep(tmp_path, "plain"))
    half = report_without_engine(sweep(tmp_path, "half", report=False))
    with pytest.raises(ValueError, match=r"plain and half .*report split in the one.*run` of half"):
        check_comparable([plain, half])
    bare = report_without_engine(sweep(tmp_path, "bare", dense=False))
    with pytest.raises(ValueError, match="bare cannot be compared: its dense base has no score"):
        check_comparable([plain, bare])
    rows = tuple(
        row.model_copy(update={"tasks": {"mine": next(iter(row.tasks.values()))}})
        for row in plain.tasks
    )
    other = plain.model_copy(update={"sweep": "other", "tasks": rows})
    with pytest.raises(ValueError, match=r"tasks differ \(tiny_attribute, tiny_counting only in"):
        check_comparable([plain, other])
