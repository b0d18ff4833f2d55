"""Which recipe wins: on sweeps whose truth is known, with intervals that are worked out by hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from helpers.trials import make_dense, make_trial, write_sweep
from plotly.graph_objects import Figure

from analysis.draw.recipe_figure import figure_size, recipe_figure
from analysis.findings.questions import Design
from analysis.findings.recipe_report import RecipeReport, find_recipes, recipe_table
from analysis.findings.recipes import Place, find_places
from analysis.load import Trial, trial_of
from analysis.output.recipe_files import write_recipes
from search_spaces.spaces import decision_flow
from trainables.specs import Method, Scope

CE, BOTH = {"alpha": 1.0}, {"alpha": 0.5, "gamma": 0.5}
METHODS: tuple[Method, ...] = ("layerwise", "widthwise")
DESIGN = Design(METHODS, {"0.30": 0.30})
CELLS: tuple[tuple[Method, Scope, dict[str, float]], ...] = tuple(
    (m, s, loss)
    for m, (s, loss) in itertools.product(
        METHODS, (("none", CE), ("projector", CE), ("joint", CE), ("joint", BOTH))
    )
)


def trial(
    name: str, retention: float, method: Method = "layerwise", scope: Scope = "joint",
    loss: dict[str, float] | None = None, **more: Any,
) -> Trial:  # fmt: skip
    given = {"data_fraction": 0.05, "method": method, "scope": scope, "loss": loss or CE}
    return make_trial(name, retention, **(given | more))


def place(trials: list[Trial], share: float, design: Design = DESIGN) -> Place:
    (found,) = (p for p in find_places(trials, design, decision_flow) if p.data_fraction == share)
    return found


def report_of(folder: Path, trials: list[Trial], **spec: Any) -> RecipeReport:
    home = write_sweep(folder, trials)
    sweep = json.loads((home / "sweep.json").read_text()) | spec
    (home / "sweep.json").write_text(json.dumps(sweep))
    return find_recipes(home, trials, decision_flow)


def test_equal_recipes_are_told_apart_in_at_most_five_percent_of_sweeps() -> None:
    rng, wrong, sweeps = np.random.default_rng(0), 0, 150
    base = [trial(f"t{i}", 0.9, *cell) for i, cell in enumerate(CELLS)]
    for _ in range(sweeps):
        trials = []
        for each in base:
            scores = each.record.evaluation
            assert scores is not None
            moved = scores.model_copy(update={"retention": 0.9 + 0.01 * rng.normal()})
            trials.append(trial_of(each.record.model_copy(update={"evaluation": moved})))
        wrong += any(p.beaten for p in find_places(trials, DESIGN, decision_flow))
    assert wrong / sweeps <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sweeps)


def test_the_interval_is_that_of_independent_errors_for_all_pairs() -> None:
    """Two students of 1 point of error each: 3 points are told apart, beside a third one not."""
    two = [trial("a", 0.90, se=0.01), trial("b", 0.87, "widthwise", se=0.01)]
    found = place(two, 0.05)
    half = NormalDist().inv_cdf(0.975) * np.sqrt(2)
    assert found.word == "certain"
    assert [r.label for r in found.recipes] == ["layerwise joint ce"]
    (beaten,) = found.beaten
    assert beaten.ahead == pytest.approx(3.0)
    assert (beaten.low, beaten.high) == pytest.approx((3 - half, 3 + half))
    three = [*two, trial("c", 0.5, loss=BOTH, se=0.01)]
    found = place(three, 0.05)
    half = NormalDist().inv_cdf(1 - 0.025 / 3) * np.sqrt(2)
    assert found.word == "cannot be told apart"
    (other,) = (r for r in found.recipes if r.method == "widthwise")
    assert other.low == pytest.approx(3 - half) and other.low < 0  # noqa: PT018
    assert [r.label for r in found.beaten] == ["layerwise joint ce+l2"]


def test_of_what_cannot_be_told_apart_the_cheapest_recovery_comes_first() -> None:
    trials = [
        trial("dear", 0.95, recovery_tflops=9.0),
        trial("cheap", 0.94, loss=BOTH, recovery_tflops=2.0),
        trial("projector", 0.945, scope="projector", recovery_tflops=1.0),
        trial("none", 0.5, scope="none"),
    ]
    found = place(trials, 0.05)
    assert [r.trial for r in found.recipes] == ["demo/projector", "demo/cheap", "demo/dear"]
    assert [r.ahead is None for r in found.recipes] == [False, False, True]
    assert [r.trial for r in found.beaten] == ["demo/none"]
    assert found.recipes[1].study, "up to 40 %: layerwise, joint, ce+l2"
    assert (found.advice, found.advised) == ("layerwise joint ce+l2", "not beaten")


def test_more_data_than_may_be_used_does_not_count() -> None:
    trials = [
        trial("none", 0.60, "widthwise", "none"),
        trial("few", 0.80),
        trial("many", 0.95, data_fraction=0.2, recovery_tflops=20.0),
    ]
    names = {
        p.data_fraction: [r.trial for r in p.recipes]
        for p in find_places(trials, DESIGN, decision_flow)
    }
    assert names == {0.0: ["demo/none"], 0.05: ["demo/few"], 0.2: ["demo/many"]}
    alone = place(trials, 0.0)
    assert (alone.word, alone.advised) == ("alone", "not beaten")
    assert place(trials, 0.2).recipes[0].tried == 2, "with 5 and with 20 %"


def test_the_best_setting_of_a_recipe_stands_for_it_and_seeds_are_averaged() -> None:
    rate = {"recovery_settings": {"learning_rate": 0.1}}
    trials = [
        trial("bad rate", 0.5, **rate),
        trial("one", 0.90),
        trial("two", 0.96, seed=1),
        trial("rival", 0.92, "widthwise"),
        trial("rival two", 0.94, "widthwise", seed=1),
    ]
    found = place(trials, 0.05)
    kept = {r.method: r for r in found.recipes}
    assert kept["layerwise"].retention == kept["widthwise"].retention == pytest.approx(93.0)
    assert kept["layerwise"].tried == 2
    other = next(r for r in found.recipes if r.ahead is not None)
    assert other.high is not None
    questions = NormalDist().inv_cdf(1 - 0.025 / 3) * np.sqrt(2)
    assert other.high > questions, "seeds that differ by six points widen it"


def test_a_training_that_made_it_worse_is_no_recovery_and_guessing_is_no_recipe() -> None:
    worse = trial("worse", 0.9).record.model_copy(update={"kept": "untrained"})
    trials = [trial_of(worse), trial("int8", 0.99, quantization="llm_int8")]
    found = place(trials, 0.0)
    assert [(r.label, r.recovery_tflops) for r in found.recipes] == [("layerwise no recovery", 0.0)]
    guess = place([trial("guess", 0.25)], 0.05)
    assert (guess.word, guess.recipes) == ("guessing", ())
    assert place([trial("later", 0.9)], 0.0).word == "not tried"


def test_one_split_counts_at_a_size() -> None:
    both = [trial("a", 0.9, report=0.6), trial("b", 0.8, "widthwise", report=0.7)]
    assert place(both, 0.05).split == "report"
    assert place(both, 0.05).recipes[0].trial == "demo/b"
    found = place([*both, trial("c", 0.85, loss=BOTH)], 0.05)
    assert found.split == "search"
    assert found.recipes[0].trial == "demo/a"
    assert found.recipes[0].retention == pytest.approx(90.0)


def test_what_limits_the_answer_is_said(tmp_path: Path) -> None:
    some = [trial("a", 0.9), trial("b", 0.5, scope="none"), make_dense()]
    notes = " ".join(report_of(tmp_path / "1", some, designed=[{}] * 5).notes)
    assert "Only layerwise was tried, so nothing is said of methods." in notes
    assert "3 designed trials have not ended yet, so this may change." in notes
    assert "decision flow" not in notes, "nothing of it was tried"
    for trials, said in (
        ([make_dense()], "No trial has ended yet"),
        ([trial("a", None)], "the dense base was not scored"),
        ([trial("a", 0.25)], "No student is better than guessing"),
    ):
        found = report_of(tmp_path / said[:12], trials)
        assert not found.answered
        assert said in " ".join(found.notes)


def test_the_picture_shows_each_place_and_whether_it_is_sure(tmp_path: Path) -> None:
    trials = [
        trial("a", 0.95), trial("b", 0.94, loss=BOTH), trial("c", 0.6, "widthwise", "none"),
        trial("d", 0.9, "widthwise", ratio=0.6), trial("e", 0.5, ratio=0.6),
    ]  # fmt: skip
    found = report_of(tmp_path, trials)
    figure = Figure(recipe_figure(found))  # it raises on an unknown property
    marks = [t for t in figure.data if t.mode == "markers" and not t.name]
    assert {"layerwise", "widthwise", "others cannot be told apart"} < {
        t.name for t in figure.data if t.name
    }
    words = [t.text[0] for t in figure.data if t.mode == "text"]
    assert [(m.x[0], m.marker.symbol, m.marker.color) for m in marks] == [
        (0, "x", "#D55E00"), (0, "circle-open", "#0072B2"), (1, "circle", "#D55E00"),
    ]  # fmt: skip
    assert words[1] == "<b>layerwise</b><br>joint ce, 5% data<br>95 %, or 1 other"
    assert words[2].endswith("90 %, certain")
    png = write_recipes(tmp_path / "demo", found)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "demo" / "recipes.json").read_text()) == found.model_dump(
        mode="json"
    )
    assert figure_size(found)[0] >= 4
    empty = RecipeReport(sweep="none", places=())
    assert recipe_figure(empty)["data"] == []


def test_places_where_more_data_changes_nothing_are_one_row(tmp_path: Path) -> None:
    trials = [
        trial("a", 0.95, scope="none"), trial("b", 0.6), trial("c", 0.5, data_fraction=0.2),
    ]  # fmt: skip
    rows = recipe_table(report_of(tmp_path, trials)).rows
    assert [row[:3] for row in rows] == [
        ["0.30", "none", "layerwise no recovery"],
        ["0.30", "5-20%", "layerwise no recovery"],
    ]
