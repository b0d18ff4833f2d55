"""The view that a sweep's link opens: what is drawn follows from what the sweep measured."""

from __future__ import annotations

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from helpers.command_line import invoke
from helpers.trials import make_dense, make_trial, write_sweep

from analysis.axes import AXES
from analysis.frontier import find_frontier
from analysis.load import Trial, load_trials
from sweeps.engine.track.run_values import trial_metrics, trial_params
from sweeps.engine.track.saved_view import KIND, TAG, read_view, view_link, view_tags
from sweeps.engine.track.store import knows_views, open_store
from sweeps.engine.track.tracking import Mirror

MAX_TAG = 20000  # characters of an experiment's tag in MLflow
MIXED = [(1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.4, 0.4, 0.2), (0.2, 0.4, 0.4)]


def mixtures() -> list[Trial]:
    """Trials over loss weights with one data fraction, and no latency."""
    trials = []
    for place, (alpha, beta, gamma) in enumerate([*MIXED, (0.3, 0.6, 0.1)]):
        loss = {"alpha": alpha, "beta": beta, "gamma": gamma}
        trials.append(make_trial(f"t{place}", 0.8 + place / 100, ratio=0.1 + place / 10, loss=loss))
    return [*trials, make_trial("bad", status="failed"), make_dense()]


def view_of(trials: list[Trial], key: str = "trials") -> dict[str, Any]:
    names = {metric.key for t in trials for metric in trial_metrics(t)}
    tags = view_tags(trials, find_frontier(trials), names, 0)
    assert all(len(tag) < MAX_TAG for tag in tags.values())
    return read_view(tags[TAG + key])


def drawn(view: dict[str, Any], kind: str) -> list[tuple[str, ...]]:
    charts = [c for c in view["compareRunCharts"] if c["type"] == kind]
    axes = ("xaxis", "yaxis", "zaxis")
    return [tuple(c[a]["key"] for a in axes if a in c) for c in charts]


def test_charts_are_those_of_what_varies() -> None:
    view = view_of(mixtures())
    # Latency was never measured, and `kept` is no metric.
    measured = ("weights_mib", "memory_mib", "tflops", "recovery_tflops")
    assert drawn(view, "SCATTER") == [(name, "retention") for name in measured]
    assert drawn(view, "CONTOUR") == [
        ("alpha", "beta", "retention"), ("alpha", "gamma", "retention"),
        ("beta", "gamma", "retention"),
    ]  # fmt: skip
    (parallel,) = (c for c in view["compareRunCharts"] if c["type"] == "PARALLEL")
    assert {"ratio", "alpha", "beta", "gamma", "retention"} < set(parallel["selectedMetrics"])
    assert "quantization" not in parallel["selectedParams"]


def test_views_of_losses_and_of_failures() -> None:
    losses = view_of(mixtures(), "losses")
    assert losses["searchFilter"] == "params.loss_terms != 'none' and tags.status = 'completed'"
    assert drawn(losses, "SCATTER") == [(name, "retention") for name in ("alpha", "beta", "gamma")]
    assert len(drawn(losses, "CONTOUR")) == 3
    untrained = [make_trial(f"u{n}", 0.9 + n / 100, scope="none") for n in range(3)]
    assert drawn(view_of(untrained, "losses"), "SCATTER") == []
    failures = view_of(mixtures(), "failures")
    assert failures["compareRunCharts"] == []
    assert failures["selectedColumns"][0] == "tags.`error`"
    assert failures["orderByKey"] == "metrics.`weights_mib`", "else they hide below their parent"


def test_everything_that_is_named_is_logged() -> None:
    trials = mixtures()
    params = {p.key for t in trials for p in trial_params(t)}
    values = {m.key for t in trials for m in trial_metrics(t)}
    view = view_of(trials)
    for chart in view["compareRunCharts"]:
        named = [chart[axis]["key"] for axis in ("xaxis", "yaxis", "zaxis") if axis in chart]
        assert {*named, *chart.get("selectedMetrics", ())} <= values
        assert set(chart.get("selectedParams", ())) <= params
    for column in view["selectedColumns"]:
        kind, _, name = column.partition(".")
        if kind == "params":
            assert name.strip("`") in params
        if kind == "metrics":
            assert name.strip("`") in {*values, *AXES}
    assert view["orderByKey"] == "metrics.`weights_mib`"


def test_weights_on_a_line_or_few_make_no_contour() -> None:
    line = [
        make_trial(f"t{n}", 0.9, loss={"alpha": 1 - n / 10, "gamma": n / 10}) for n in range(1, 9)
    ]
    assert drawn(view_of(line), "CONTOUR") == []
    assert drawn(view_of(mixtures()[:5]), "CONTOUR") == []


def test_the_charts_of_mlflow_stay_below_ours_and_closed() -> None:
    view = view_of(mixtures())
    ours, *others = view["compareRunSections"]
    assert (ours["display"], ours["uuid"]) == (True, view["compareRunCharts"][0]["metricSectionId"])
    assert {"Model metrics", "search", "search/score", "gpu_seconds"} <= {s["name"] for s in others}
    assert not any(section["display"] for section in others)


@pytest.mark.parametrize("trials", [[], [make_dense()], [make_trial("bad", status="failed")]])
def test_a_sweep_that_has_only_begun(trials: list[Trial]) -> None:
    assert drawn(view_of(trials), "SCATTER") == drawn(view_of(trials), "CONTOUR") == []


def test_links() -> None:
    local = view_link("sqlite:////runs/mlflow.db", "7")
    assert local.startswith("http://127.0.0.1:5000/#/experiments/7/runs?")
    assert "workflowType=machine_learning" in local
    assert "viewStateShareKey=trials" in local
    assert view_link("https://me:secret@host/ml/", "7") == local.replace(
        "http://127.0.0.1:5000", "https://host/ml"
    )


@pytest.mark.parametrize("known", [True, False])
def test_a_page_without_saved_views_is_sent_to_the_same_list(tmp_path: Path, known: bool) -> None:
    """What a server's page knows is read off its script; the installed MLflow's knows them."""
    assert knows_views("sqlite:////runs/mlflow.db")
    script = tmp_path / "static-files/static/js/main.ab12.js"
    script.parent.mkdir(parents=True)
    script.write_text(f'a="{TAG}"' if known else "a=1")
    page = '<script defer="defer" src="static-files/static/js/main.ab12.js"></script>'
    (tmp_path / "index.html").write_text(page)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        assert knows_views(f"http://127.0.0.1:{server.server_port}") == known
        server.shutdown()


def test_the_link_without_views_names_filter_and_order() -> None:
    link = view_link("sqlite:////runs/mlflow.db", "7", views=False)
    asked = dict(parse_qsl(link.partition("?")[2]))
    assert asked == {
        "workflowType": "machine_learning", "compareRunsMode": "CHART",
        "searchFilter": "tags.trial_id != ''",
        "orderByKey": "metrics.`weights_mib`", "orderByAsc": "true",
    }  # fmt: skip


def test_a_mirrored_sweep_opens_on_its_view_and_a_choice_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_sweep(tmp_path, mixtures())
    mirror = Mirror(tmp_path, "demo")
    mirror.sync(load_trials(folder), {"question": "?"})
    client = open_store(mirror.tracking_uri)
    tags = client.get_experiment(mirror.experiment_id).tags
    assert tags[KIND[0]] == KIND[1]
    assert drawn(read_view(tags[f"{TAG}trials"]), "SCATTER")
    for written, kept in (
        ("genai_development_inferred", KIND[1]),  # what the page guessed
        ("genai_development", "genai_development"),  # what somebody chose there
    ):
        client.set_experiment_tag(mirror.experiment_id, KIND[0], written)
        Mirror(tmp_path, "demo").sync(load_trials(folder), {"question": "?"})
        assert client.get_experiment(mirror.experiment_id).tags[KIND[0]] == kept

    started: list[list[str]] = []  # the server itself replaces the process
    monkeypatch.setattr("os.execv", lambda _, command: started.append(command))
    said = invoke("ui", "--storage", tmp_path, "--port", "5999").stdout
    link = mirror.link.replace(":5000", ":5999")
    assert f"demo: {link}" in said.splitlines()
    assert len(started) == 1
