"""Every method and every scope is drawn in every picture; what has no look is refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, get_args

import pytest
from helpers.pages import figures_of
from helpers.trials import make_dense, make_trial, write_sweep

from analysis.draw.effect_figure import effect_figures
from analysis.draw.frontier_figure import SIZE, frontier_figure
from analysis.draw.looks import METHODS, SCOPES, groups
from analysis.draw.png import SYMBOLS, compose
from analysis.draw.spider import chosen_spider
from analysis.draw.spider_figure import spider_figure
from analysis.effects.setting_effects import sensitivity_report
from analysis.frontier import find_frontier
from analysis.load import Trial
from trainables.records import TaskScore
from trainables.specs import Method, Scope

PAIRS = list(itertools.product(get_args(Method), get_args(Scope)))


def trials(standing: str) -> list[Trial]:
    """A trial of every method and scope: on the frontier, dominated, near it, or not ranked."""
    found = [make_dense(report=1.0)]
    for place, (method, scope) in enumerate(PAIRS):
        retention = 0.5 + 0.03 * place
        found.append(
            make_trial(
                f"{method}-{scope}",
                retention,
                method=method,
                scope=scope,
                weights_mib={"frontier": 4.0 + place}.get(standing, 12.0),
                report={"search split only": None, "within noise of it": 0.9}.get(
                    standing, retention
                ),
                se=0.001,
            )
        )
    if standing != "frontier":
        found.append(make_trial("best", 0.91, weights_mib=3.0, report=0.91, se=0.01))
    return found


def test_every_name_of_the_specs_has_a_row() -> None:
    assert set(METHODS) == {*get_args(Method), "none"}
    assert set(SCOPES) == set(get_args(Scope))
    assert len({row.colour for row in METHODS.values()}) == len(METHODS)
    assert len({row.symbol for row in SCOPES.values()}) == len(SCOPES)
    assert {row.symbol for row in SCOPES.values()} <= set(SYMBOLS)


@pytest.mark.parametrize(
    "standing", ["frontier", "within noise of it", "dominated", "search split only"]
)
def test_every_method_and_scope_is_drawn_in_the_frontier(standing: str) -> None:
    front = find_frontier(trials(standing))
    drawn = [(g.state, p.method, p.scope) for g in groups(front) for p in g.points]
    shown = (*front.points, *front.dominated, *front.unranked)
    assert len(drawn) == len(shown)
    assert {(standing, *pair) for pair in PAIRS} <= set(drawn)
    figure = frontier_figure(front)
    marked = [t for t in figure["data"] if t["mode"] == "markers" and "text" in t]
    places = {(x, y) for t in marked for x, y in zip(t["x"], t["y"], strict=True)}
    assert places == {(p.weights_mib, 100 * p.retention) for p in shown}
    looks = {(t["marker"]["color"], t["marker"]["symbol"].removesuffix("-open")) for t in marked}
    assert {(METHODS[m].colour, SCOPES[s].symbol) for m, s in PAIRS} <= looks
    (axes,) = compose({"frontier": figure}, SIZE).axes
    on_paper = {tuple(xy) for c in axes.collections for xy in getattr(c, "get_offsets", list)()}
    assert places <= {(float(x), float(y)) for x, y in on_paper}
    legend = {entry["name"] for entry in figure["layout"]["meta"]["key"]}
    assert {METHODS[m].label for m in get_args(Method)} <= legend
    assert {SCOPES[s].label for s in get_args(Scope)} <= legend


def test_every_method_and_scope_is_on_the_page_of_a_report(tmp_path: Path) -> None:
    figure = figures_of(write_sweep(tmp_path, trials("frontier")))["s0-frontier-tflops"]
    names = {trace["name"] for trace in figure["data"]}
    assert {f"{method}, {SCOPES[scope].label}" for method, scope in PAIRS} <= names


def test_every_method_and_scope_is_a_line_of_the_spider() -> None:
    scored = [with_tasks(trial) for trial in trials("frontier")]
    names = [f"{method}-{scope}" for method, scope in PAIRS]
    for some in (names[:6], names[6:]):
        spider = chosen_spider(scored, some, "search")
        figure = spider_figure(spider)
        assert [t["name"] for t in figure["data"] if "marker" in t] == [
            line.label for line in spider.lines
        ]
        (axes,) = compose({"spider": figure}, (6, 6)).axes
        assert len([line for line in axes.lines if line.get_marker() == "None"]) >= len(some)
        assert len(axes.collections) == len(some)


def with_tasks(trial: Trial) -> Trial:
    from dataclasses import replace

    evaluation = trial.record.evaluation
    assert evaluation is not None
    score = TaskScore(score=evaluation.average, stderr=1.0, samples=9)
    tasks = dict.fromkeys(("gqa", "pope", "mme"), score)
    changed = evaluation.model_copy(update={"tasks": tasks})
    return replace(trial, record=trial.record.model_copy(update={"evaluation": changed}))


def test_every_method_and_scope_that_trains_is_a_recipe_of_the_effects() -> None:
    def run(method: Any, scope: Any, rate: float, seed: int) -> Trial:
        return make_trial(f"{method}-{scope}-{rate}-{seed}", 0.9 - rate, method=method, scope=scope,
                          seed=seed, recovery_settings={"learning_rate": rate})  # fmt: skip

    trained = [(m, s) for m, s in PAIRS if s != "none"]
    report = sensitivity_report(
        [run(m, s, rate, seed) for m, s in trained for rate in (1e-3, 4e-3) for seed in (0, 1)]
    )
    titles = [figure["layout"]["title"]["text"] for figure in effect_figures(report).values()]
    for method, scope in trained:
        assert any(f"{method} 0.30, {scope} " in title for title in titles)


@pytest.mark.parametrize(("table", "name"), [(METHODS, "hybrid"), (SCOPES, "full")])
def test_what_has_no_look_is_refused_where_it_is_drawn(
    table: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(table, name)
    what = "method" if table is METHODS else "scope"
    with pytest.raises(ValueError, match=rf"'{name}' is not a known {what}.*Valid: .*none"):
        frontier_figure(find_frontier(trials("frontier")))
