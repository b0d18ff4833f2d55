"""The page of MLflow that a sweep's link opens: its trials, sorted, with charts of the trade-offs.

MLflow keeps a view of an experiment as a tag. Its form is not documented; this one was read off the
web page of MLflow 3.17 and looked at in a browser: scatter plots over every axis that was measured,
parallel coordinates of what varies, and contours over two loss weights where they span a plane.
Charts that MLflow makes by itself, one per metric, stay below in sections that are closed.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import zlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from analysis.axes import AXES, DEFAULT_X, x_axes
from analysis.frontier import Frontier
from analysis.load import Trial
from sweeps.engine.track.run_values import WORDS

# What the experiment is. It does not choose the page: without `workflowType`, 3.17 opens GenAI's.
KIND = ("mlflow.experimentKind", "custom_model_development")
TAG = "mlflow.sharedViewState."
UI_HOST, UI_PORT = "127.0.0.1", 5000  # where `prunesweep ui` shows a store without a server
VIEWS = {  # key in the link -> (name on the page, filter)
    "trials": ("All trials", "tags.trial_id != ''"),
    "frontier": ("Frontier", "tags.frontier = 'true'"),
    "losses": (
        "Loss coefficients", "params.loss_terms != 'none' and tags.status = 'completed'"
    ),
    "failures": ("Failures", "tags.status = 'failed'"),
}  # fmt: skip
WEIGHTS = ("alpha", "beta", "gamma")
LOGGED = tuple(name for name in x_axes() if not AXES[name].derived)
ORDER = f"metrics.`{DEFAULT_X}`"
OURS = "Trade-offs"
UNNAMED = "Model metrics"  # MLflow's own section for metrics without a slash
CONTOUR_POINTS = 6  # fewer make triangles that say nothing
RUNS_SHOWN = 100  # by a chart; MLflow's own number
COLUMNS = (
    "metrics.retention", *(f"metrics.{name}" for name in LOGGED), "metrics.ratio",
    "params.method", "params.scope", "params.loss_terms", "params.data_fraction",
    "tags.standing", "tags.split", "tags.signatures",
)  # fmt: skip
WHY = ("tags.error", "params.method", "params.ratio_target", "params.scope", "params.loss_terms")


def view_link(
    uri: str, experiment_id: str, host: str = UI_HOST, port: int = UI_PORT, views: bool = True
) -> str:
    """Address of the trials' view: on the server, or for a store where `prunesweep ui` shows it.

    Without `views`, for a page that does not know saved ones, it is that of the same list: there
    are no charts then. One address cannot say both, since the page passes over a view where the
    address names a filter.
    """
    server = re.sub("//[^/@]*@", "//", uri).rstrip("/")  # a link holds no password
    base = server if uri.startswith(("http://", "https://")) else f"http://{host}:{port}"
    shown = {"viewStateShareKey": "trials"}
    if not views:
        order = {"orderByKey": ORDER, "orderByAsc": "true"}
        shown = {"searchFilter": VIEWS["trials"][1], **order}
    query = urlencode({"workflowType": "machine_learning", **shown, "compareRunsMode": "CHART"})
    return f"{base}/#/experiments/{experiment_id}/runs?{query}"


def view_links(experiment_id: str) -> dict[str, str]:
    """Addresses of all views by name, for a page of the same server."""
    link = view_link("", experiment_id)
    link = link[link.index("#") :]
    return {
        name: link.replace("ShareKey=trials", f"ShareKey={key}") for key, (name, _) in VIEWS.items()
    }


def view_tags(
    trials: Sequence[Trial], frontier: Frontier, metrics: Collection[str], moment: int
) -> dict[str, str]:
    """The experiment's tags that hold the views.

    Args:
        trials: of the sweep.
        frontier: of these.
        metrics: names of all metrics that its runs hold.
        moment: when the sweep began, in milliseconds since 1970.
    """
    scored = [t for t in trials if t.record.status == "completed" and t.split is not None]
    front = [t for t in scored if t.trial_id in frontier.trial_ids]
    charts = {
        "trials": _charts(scored),
        "frontier": _charts(front),
        "losses": _loss_charts([t for t in scored if t.loss]),
        "failures": [],
    }
    found = {}
    for key, (name, query) in VIEWS.items():
        state = _state(query, charts[key], metrics, WHY if key == "failures" else COLUMNS)
        text = json.dumps(state, separators=(",", ":"))
        packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
        view = {"name": name, "createdAt": moment, "updatedAt": moment}
        found[TAG + key] = json.dumps({**view, "state": f"deflate;{packed}"})
    return found


def read_view(tag: str) -> dict[str, Any]:
    """The state in a tag of `view_tags`."""
    packed = json.loads(tag)["state"].removeprefix("deflate;")
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def _state(
    query: str, charts: list[dict[str, Any]], metrics: Iterable[str], columns: Iterable[str]
) -> dict[str, Any]:
    closed = sorted({name.rpartition("/")[0] or UNNAMED for name in metrics})
    return {
        "searchFilter": query,
        # With a filter, only runs that are sorted by a metric stand outside their parent.
        "orderByKey": ORDER,
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [re.sub(r"\.(.*)", r".`\1`", column) for column in columns],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": False,
        "runListHidden": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {
            "xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": "",
        },
        "isAccordionReordered": True,  # sections stay in this order
        "compareRunSections": [_section(OURS, True), *(_section(name, False) for name in closed)],
        "compareRunCharts": charts,
    }  # fmt: skip


def _section(name: str, is_open: bool) -> dict[str, Any]:
    return {
        "uuid": f"section-{name}", "name": name, "display": is_open, "isReordered": is_open,
        "deleted": False, "isGenerated": not is_open,
    }  # fmt: skip


def _charts(scored: list[Trial]) -> list[dict[str, Any]]:
    """Charts of trials with a score; what does not vary among them has none."""
    found = [
        _chart("SCATTER", xaxis=_metric(name), yaxis=_metric("retention"))
        for name in LOGGED
        if _varies(t.axes[name] for t in scored)
    ]
    words = [name for name, word in WORDS.items() if _varies(word(t) for t in scored)]
    numbers = {"ratio": [t.axes["ratio"] for t in scored], **_mixture(scored)}
    return [*found, _parallel(numbers, words), *_contours(scored)]


def _loss_charts(scored: list[Trial]) -> list[dict[str, Any]]:
    """The same of trained trials: what the mixture of losses does."""
    numbers = _mixture(scored)
    scatters = [
        _chart("SCATTER", xaxis=_metric(name), yaxis=_metric("retention"))
        for name in WEIGHTS
        if _varies(numbers[name])
    ]
    return [*_contours(scored), *scatters, _parallel(numbers, ["loss_terms"] if scored else [])]


def _mixture(trials: list[Trial]) -> dict[str, list[float | None]]:
    """Weights of the loss and the share of the data, by the names of their metrics."""
    found: dict[str, list[float | None]] = {"data_fraction": [t.data_fraction for t in trials]}
    for place, name in enumerate(WEIGHTS):
        found[name] = [t.weights[place] for t in trials]
    return found


def _parallel(numbers: dict[str, list[float | None]], words: list[str]) -> dict[str, Any]:
    varied = [name for name, values in numbers.items() if _varies(values)]
    return _chart(
        "PARALLEL",
        selectedParams=words,
        selectedMetrics=[*varied, "retention"],
        showAllRuns=True,
    )


def _contours(scored: list[Trial]) -> list[dict[str, Any]]:
    return [
        _chart("CONTOUR", xaxis=_metric(WEIGHTS[a]), yaxis=_metric(WEIGHTS[b]),
               zaxis=_metric("retention"))
        for a, b in itertools.combinations(range(len(WEIGHTS)), 2)
        if _makes_contour({(t.weights[a], t.weights[b]) for t in scored})
    ]  # fmt: skip


def _chart(kind: str, **more: Any) -> dict[str, Any]:
    own = json.dumps([kind, more])  # an id of its own; MLflow makes the title
    return {
        "uuid": own, "type": kind, "metricSectionId": f"section-{OURS}",
        "runsCountToCompare": RUNS_SHOWN, "deleted": False, "isGenerated": False, **more,
    }  # fmt: skip


def _metric(name: str) -> dict[str, str]:
    return {"key": name, "type": "METRIC"}


def _varies(values: Iterable[Any]) -> bool:
    return len({value for value in values if value is not None}) > 1


def _makes_contour(points: set[tuple[float, float]]) -> bool:
    """Whether there are enough points, and not all on one line."""
    (x0, y0), *rest = sorted(points) or [(0.0, 0.0)]
    pairs = itertools.combinations([(x - x0, y - y0) for x, y in rest], 2)
    spread = any(abs(ax * by - ay * bx) > 1e-9 for (ax, ay), (bx, by) in pairs)
    return len(points) >= CONTOUR_POINTS and spread
