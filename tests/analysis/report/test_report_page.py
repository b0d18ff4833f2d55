"""The page of a report: one valid file that needs no other, and says what the records say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from helpers.ledgers import old_quickstart
from helpers.pages import Page, page_of, report_without_engine
from helpers.trials import make_dense, make_trial, write_gallery, write_sweep

from analysis.draw.looks import DARK
from analysis.frontier import find_frontier
from analysis.load import load_trials
from analysis.report.content import DRAWN, KEPT
from analysis.report.write import write_report
from trainables.records import Signature

NASTY = "<b>x</b>&\"'"
SIGN = Signature(name="one_answer", value=0.95, threshold=0.9, sentence="<i>one</i> answer")


def sweep_of_all(storage: Path, name: str = "demo") -> Path:
    """Models of every standing, one that failed, and answers with pictures."""
    trials = [
        make_trial("a", 0.55, weights_mib=6.0, report=0.5, latency_ms=20.0, ratio=0.6, sweep=name),
        make_trial("b", 0.85, weights_mib=8.0, report=0.8, latency_ms=25.0, method="widthwise",
                   sweep=name, signatures=(SIGN,)),
        make_trial("c", 0.75, weights_mib=9.0, report=0.7, latency_ms=26.0, sweep=name),
        make_trial("d", 0.4, weights_mib=9.0, scope="none", sweep=name),
        make_trial("<u>e", status="failed", sweep=name),
        make_dense(report=1.0, latency_ms=40.0, sweep=name),
    ]  # fmt: skip
    folder = write_sweep(storage, trials, name)
    write_gallery(folder, {n: [("1", 100.0), (NASTY, 0.0)] for n in ("dense", "a", "b")})
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = sweep_of_all(tmp_path_factory.mktemp("runs"))
    told = {"stages": {"recovery": 45.0, "evaluation": 15.0}, "repeat": ("prunesweep run demo",)}
    return page_of(folder, **told)


def test_it_is_one_file_that_asks_for_no_other(page: Page) -> None:
    """`Page` refuses what is not closed, or has an attribute twice."""
    assert page.size < 6_000_000
    assert page.links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert page.policy.startswith("default-src 'none'; ")
    assert "http" not in page.policy
    assert len(page.ids) == len(set(page.ids))
    assert set(page.references) <= set(page.ids)
    assert set(page.drawn) == set(page.figures), "every figure has its button or plot"


def test_every_part_is_there(page: Page) -> None:
    assert page.texts["h2"] == [
        "The answer", "The frontier", "Task by task", "What mattered", "The study's claims",
        "The search", "All trials", "Where the time went", "Failures and their signs",
        "Answers side by side",
        "How it was made",
    ]  # fmt: skip
    assert "75.0" in page.texts["td"], "the recovery's share of the time"
    assert "RuntimeError: loss is NaN" in page.text
    assert "prunesweep export demo/b --to ./student" in page.texts["code"]
    buttons = [text for text in page.texts["button"] if text not in ("copy", "export")]
    assert buttons[:5] == [
        "Weight memory", "Memory while answering, computed", "Work of one image and prompt",
        "Latency, batch 1", "Recovery training",
    ]  # fmt: skip


def test_nothing_is_taken_for_markup(page: Page) -> None:
    assert "<i>one</i> answer" in page.text
    assert NASTY in page.text


def test_a_sweep_with_an_odd_name(tmp_path: Path) -> None:
    odd = page_of(sweep_of_all(tmp_path, "a <b>&'"))
    assert odd.texts["h1"] == odd.texts["title"] == ["a <b>&'"]
    assert "b" not in odd.texts or "a" not in odd.texts["b"]


def test_the_frontier_is_told_not_what_lies_beneath(page: Page) -> None:
    """Plotly tells the later of two traces that the pointer meets."""
    for name in ("weights_mib", "latency_ms"):
        states = [
            trace["legendgroup"]
            for trace in page.figures[f"s0-frontier-{name}"]["data"]
            if "text" in trace
        ]
        sizes = {
            trace["marker"]["size"]
            for trace in page.figures[f"s0-frontier-{name}"]["data"]
            if "text" in trace and trace["marker"]["symbol"] != "star"
        }
        assert len(sizes) == 1, "it tells the smaller one, too"
        assert states[-1] in ("frontier", "not pruned")
        assert states.index("dominated") < states.index("frontier")


def test_plotly_accepts_every_figure(page: Page) -> None:
    from plotly.graph_objects import Figure

    for figure in page.figures.values():
        assert Figure(figure)  # it raises on an unknown property


def test_the_smallest_that_keeps_so_much_is_what_recommend_says(tmp_path: Path) -> None:
    from analysis.recommend import recommend

    folder = old_quickstart(tmp_path)
    report = report_without_engine(folder)
    trials = load_trials(folder)
    named = {s.retention: s.trial.trial_id for s in report.smallest}
    last = None
    for level in KEPT:
        found = recommend(trials, min={"retention": level}).trial
        last = named.get(level, last)
        assert (found and found.trial_id) == last
    assert "014-layerwise-45-joint-ce+kl" in named.values()
    page = page_of(folder)
    (command,) = [text for text in page.texts["code"] if " recommend " in text]
    limit = float(command.partition("weights_mib=")[2].split()[0])
    allowed = recommend(trials, max={"weights_mib": limit}).trial
    assert allowed is not None
    assert allowed.trial_id == "014-layerwise-45-joint-ce+kl", "its own size is not above the limit"
    (headline,) = [t for t in page.texts["p"] if "is the smallest model that keeps 95%" in t]
    assert "4.9 MiB of the dense model's 8.03 (61.0%)" in headline


def test_many_trials_are_thinned_and_that_is_said(tmp_path: Path) -> None:
    trials = [make_dense()] + [
        make_trial(f"t{i:04}", 0.3 + 0.6 * ((7 * i) % 2999) / 2999, weights_mib=4 + i / 1000,
                   ratio=0.3, se=0.001)
        for i in range(3000)
    ]  # fmt: skip
    folder = write_sweep(tmp_path, trials)
    front = find_frontier(trials)
    page = page_of(folder)
    assert page.size < 6_000_000
    marked = [t for t in page.figures["s0-frontier-weights_mib"]["data"] if "text" in t]
    shown = sum(len(trace["x"]) for trace in marked)
    assert shown == len(front.points) + DRAWN
    below = 3001 - len(front.points)
    assert f"{DRAWN:,} of the {below:,} points below the frontier are drawn." in page.text
    (lines,) = page.figures["s0-parallel"]["data"]
    assert len(lines["dimensions"][-1]["values"]) <= len(front.points) + DRAWN


@pytest.mark.parametrize("trials", [[], [make_dense()], [make_trial("a", status="failed")]])
def test_without_scores_there_is_a_page_too(trials: list[Any], tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    page = page_of(write_sweep(tmp_path, trials), unfinished=2)
    assert page.texts["h2"][0] == "The answer"
    assert any("No trial has" in text for text in page.texts["p"])
    assert "2 without a result yet" in page.text
    assert not [name for name in page.figures if "parallel" in name]


def test_colours_of_the_night_are_not_those_of_the_day(page: Page) -> None:
    """Else ink is not seen: every colour of axes and texts has its own for a dark page."""

    def colours(value: Any) -> set[str]:
        if isinstance(value, dict):
            found = [colours(v) | ({v} if "color" in k and isinstance(v, str) else set())
                     for k, v in value.items()]  # fmt: skip
            return set().union(*found) if found else set()
        return set().union(*map(colours, value)) if isinstance(value, list) and value else set()

    used = set().union(*(colours(f["layout"]) for f in page.figures.values()))
    assert used
    assert used <= set(DARK), used - set(DARK)


def test_numbers_that_are_not_finite_are_gaps(tmp_path: Path) -> None:
    from analysis.report.packed import packed

    figure = {"data": [{"x": [1 / 3, math.nan, 1e9], "y": [1, 2, 3]}], "layout": {}}
    (trace,) = json.loads(packed({"a": figure}))["figures"]["a"]["data"]
    assert trace == {"x": [0.333333, None, 1e9], "y": [1, 2, 3]}


def test_a_target_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    folder = sweep_of_all(tmp_path)
    report = report_without_engine(folder)
    with pytest.raises(ValueError, match=r"the report cannot be written to .*No such file"):
        write_report(tmp_path / "missing" / "x.html", [(report, folder)])
