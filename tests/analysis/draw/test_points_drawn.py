"""Every point of a table is drawn, once, in the page and on the paper: none vanishes by its kind.

The kinds are the members of the specs' literals, so that a new one is tested as it is added.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
from helpers.pages import figures_of
from helpers.trials import make_dense, make_trial, write_sweep
from matplotlib.collections import PathCollection

from analysis.axes import AXES, x_axes
from analysis.draw import png
from analysis.draw.effect_figure import ternary_figure
from analysis.draw.frontier_figure import EQUALLED, SIZE, frontier_figure
from analysis.effects.mixtures import mixture_report
from analysis.frontier import find_frontier
from analysis.load import Trial, trial_of
from analysis.output.frontier_files import write_frontier
from trainables.records import Status
from trainables.specs import LOGITS_LOSSES, Method, ModelSpec, Origin, Quantization, Scope

KINDS = list(itertools.product(get_args(Method), get_args(Scope), get_args(Quantization)))
Places = Counter[tuple[float, float]]


def every_kind() -> list[Trial]:
    """Completed trials of every kind, each at a place of its own: front, near it, below, unranked.

    Besides them the dense base, a smaller native model, and models that were not pruned.
    """
    found = [make_dense(report=1.0, latency_ms=90.0)]

    def add(name: str, **changes: Any) -> None:
        place = len(found)
        retention = 0.4 + 0.01 * place
        costs = {"weights_mib": 2 + place / 8, "tflops": 1 + place / 64, "latency_ms": 9 + place}
        settings = {**costs, "recovery_tflops": 5 + place, "ratio": 0.7 - place / 128}
        settings |= {"report": None if place % 5 == 0 else retention, "se": 0.004 * (place % 3)}
        if place % 2:  # costs more than better ones
            settings["weights_mib"] = 9 + place / 8
        found.append(make_trial(name, retention, **{**settings, **changes}))

    for method, scope, quantization in KINDS:
        add(f"{method}-{scope}-{quantization}", method=method, scope=scope,
            quantization=quantization)  # fmt: skip
    add("native", origin="reference", scope="none")
    add("unpruned-nf4", ratio=0.0, scope="none", quantization="nf4")
    add("unpruned-joint", ratio=0.0, scope="joint")
    for origin in get_args(Origin):
        if origin not in ("reference", "confirm"):
            add(origin, origin=origin)
    return found


def left_out() -> list[Trial]:
    """What never competes: repeats, and what did not come to its end."""
    others: list[Status] = [status for status in get_args(Status) if status != "completed"]
    return [
        make_trial("again", 0.99, origin="confirm", report=0.99),
        *(make_trial(status, 0.99, status=status) for status in others),
    ]


def on_page(folder: Path, x: str) -> list[dict[str, Any]]:
    """The traces of the frontier over `x`, as the page hands them to plotly."""
    traces: list[dict[str, Any]] = figures_of(folder)[f"s0-frontier-{x}"]["data"]
    return traces


@pytest.mark.parametrize("x", x_axes())
@pytest.mark.parametrize("report", [True, False])
def test_every_point_is_drawn_once(
    x: str, report: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = every_kind() if report else [without_report(trial) for trial in every_kind()]
    canvases = []
    compose = png.compose

    def kept(*arguments: Any) -> Any:
        canvases.append(compose(*arguments))
        return canvases[-1]

    monkeypatch.setattr(png, "compose", kept)
    folder = write_sweep(tmp_path, [*trials, *left_out()])
    files = write_frontier(folder, x)
    table = json.loads(files.json.read_text())
    rows = [*table["points"], *table["dominated"], *table["unranked"]]
    measured = [t for t in trials if t.axes[x] is not None]
    assert Counter(row["trial_id"] for row in rows) == Counter(t.trial_id for t in measured)
    places = Counter((row[x], 100 * row["retention"]) for row in rows)
    assert len(places) == len(rows), "no two points at one place"

    drawn_over = on_page(folder, x) if measured else []  # an axis without values has no button
    marked = [t for t in drawn_over if t["mode"] == "markers"]
    shown = [t for t in marked if t["name"] != EQUALLED]
    dots = [t for t in marked if t["name"] == EQUALLED]
    assert points_of(shown) == short(places)
    doubtful = [row for row in table["points"] if row["standing"] == "within noise"]
    equalled = Counter((row[x], 100 * row["retention"]) for row in doubtful)
    assert points_of(dots) == short(equalled)

    (axes,) = canvases[-1].axes
    drawn: Places = Counter()
    for collection in axes.collections:
        if isinstance(collection, PathCollection):
            assert collection.get_visible()
            drawn.update(tuple(map(float, xy)) for xy in collection.get_offsets())  # type: ignore[arg-type]
    assert drawn == places + equalled
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert all(left < px < right and low < py < high for px, py in places)


def test_the_kinds_are_on_every_part_of_the_picture(tmp_path: Path) -> None:
    """Else the test above would say little."""
    table = json.loads(write_frontier(write_sweep(tmp_path, every_kind())).json.read_text())
    assert all(len(table[part]) > 8 for part in ("points", "dominated", "unranked"))
    assert {row["standing"] for row in table["dominated"]} == {
        "certainly dominated",
        "within noise",
    }
    assert set(AXES) <= set(table["points"][0])


def test_a_model_that_does_not_compete_is_not_said_to_lack_a_score(tmp_path: Path) -> None:
    """The dense base has a report; it only has nothing to recover."""
    trials = [make_dense(report=1.0), make_trial("a", 0.9, report=0.8), make_trial("b", 0.95)]
    folder = write_sweep(tmp_path, trials)
    states = {
        place: trace["legendgrouptitle"]["text"]
        for trace in on_page(folder, "recovery_tflops")
        if trace["mode"] == "markers"
        for place in trace["y"]
    }
    assert states == {100: "not compared on this axis", 80: "frontier", 95: "search split only"}


def test_what_was_not_pruned_has_no_methods_colour(tmp_path: Path) -> None:
    trials = [make_dense(), make_trial("a", 0.9, ratio=0.0, method="widthwise", scope="none",
                                       quantization="nf4", weights_mib=4.0)]  # fmt: skip
    (named,) = (
        trace["name"]
        for trace in on_page(write_sweep(tmp_path, trials), "weights_mib")
        if 90 in trace["y"] and trace["mode"] == "markers" and "text" in trace
    )
    assert named == "not pruned, no recovery"


def test_the_legend_fits_on_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference is named by its path, which may be long, and so is the list of several."""
    trials = every_kind()
    for place in range(4):
        native = make_trial(f"n{place}", 0.5 + place / 10, origin="reference", scope="none")
        model = ModelSpec(path=f"/a/long/path/to/models/some-native-model-{place}-with-a-long-name")
        spec = native.record.spec.model_copy(update={"model": model})
        trials.append(trial_of(native.record.model_copy(update={"spec": spec})))
    canvas = png.compose({"frontier": frontier_figure(find_frontier(trials))}, SIZE)
    canvas.draw_without_rendering()
    (legend,) = canvas.legends
    box, page = legend.get_window_extent(), canvas.bbox
    assert page.x0 <= box.x0
    assert box.x1 <= page.x1
    assert page.y0 <= box.y0


def test_every_mixture_is_drawn_in_the_triangle() -> None:
    losses = [{"alpha": 1.0}, {"alpha": 0.6, "gamma": 0.3}]
    losses += [
        {"alpha": 0.1 * place, "beta": 1.0, "logits": name, "gamma": gamma}
        for place, name in enumerate(LOGITS_LOSSES, start=1)
        for gamma in (0.0, 0.2)
    ]
    trials = [make_trial(f"t{i}", 0.5 + 0.01 * i, loss=loss) for i, loss in enumerate(losses)]
    report = mixture_report([make_dense(), *trials])
    assert len(report.points) == len(losses)
    figure = ternary_figure(report)
    (axes,) = png.compose({"ternary": figure}, (6, 6)).axes[:1]
    paths = [c for c in axes.collections if isinstance(c, PathCollection)]
    assert sum(len(trace["a"]) for trace in figure["data"]) == len(losses)
    assert sum(len(collection.get_offsets()) for collection in paths) == len(losses)  # type: ignore[arg-type]


def points_of(traces: list[dict[str, Any]]) -> Places:
    return Counter(xy for t in traces for xy in zip(t["x"], t["y"], strict=True))


def short(places: Places) -> Places:
    """The places as a page has them, with as many digits as are seen."""
    return Counter((float(f"{x:.6g}"), float(f"{y:.6g}")) for x, y in places.elements())


def without_report(trial: Trial) -> Trial:
    return trial_of(trial.record)
