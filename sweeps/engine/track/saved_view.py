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

from analysis.axes import AXES, DEFAULT_X, x_axes
from analysis.frontier import Frontier
from analysis.load import Trial
from sweeps.engine.track.run_values import trial_params

# What the experiment is. It does not choose the page: without `workflowType`, 3.17 opens GenAI's.
KIND = ("mlflow.experimentKind", "custom_model_development")
TAG = "mlflow.sharedViewState."
UI_HOST, UI_PORT = "127.0.0.1", 5000  # where `prunesweep ui` shows a store without a server
VIEWS = {  # key in the link -> (name on the page, filter)
    "trials": ("All trials", "tags.trial_id != ''"),
    "frontier": ("Frontier", "tags.frontier = 'true'"),
}
WEIGHTS = ("alpha", "beta", "gamma")
LOGGED = tuple(name for name in x_axes() if not AXES[name].derived)
WORDS = ("method", "scope", "loss_terms", "quantization")
OURS = "Trade-offs"
UNNAMED = "Model metrics"  # MLflow's own section for metrics without a slash
CONTOUR_POINTS = 6  # fewer make triangles that say nothing
RUNS_SHOWN = 100  # by a chart; MLflow's own number
COLUMNS = (
    "metrics.retention", *(f"metrics.{name}" for name in LOGGED), "metrics.ratio",
    "params.method", "params.scope", "params.loss_terms", "params.data_fraction", "tags.split",
)  # fmt: skip


def view_link(uri: str, experiment_id: str, host: str = UI_HOST, port: int = UI_PORT) -> str:
    """Address of the trials' view: on the server, or for a store where `prunesweep ui` shows it."""
    server = re.sub("//[^/@]*@", "//", uri).rstrip("/")  # a link holds no password
    base = server if uri.startswith(("http://", "https://")) else f"http://{host}:{port}"
    query = "workflowType=machine_learning&viewStateShareKey=trials&compareRunsMode=CHART"
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
    shown = {"trials": scored, "frontier": [t for t in scored if t.trial_id in frontier.trial_ids]}
    found = {}
    for key, (name, query) in VIEWS.items():
        state = _state(query, _charts(shown[key]), metrics)
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


def _state(query: str, charts: list[dict[str, Any]], metrics: Iterable[str]) -> dict[str, Any]:
    closed = sorted({name.rpartition("/")[0] or UNNAMED for name in metrics})
    return {
        "searchFilter": query,
        # With a filter, only runs that are sorted by a metric stand outside their parent.
        "orderByKey": f"metrics.`{DEFAULT_X}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [re.sub(r"\.(.*)", r".`\1`", column) for column in COLUMNS],
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
    weights = {name: [t.weights[place] for t in scored] for place, name in enumerate(WEIGHTS)}
    numbers: dict[str, Sequence[float | None]] = {
        "ratio": [t.axes["ratio"] for t in scored],
        "data_fraction": [t.data_fraction for t in scored],
        **weights,
    }
    asked = [{p.key: p.value for p in trial_params(t)} for t in scored]
    words = [name for name in WORDS if _varies(row[name] for row in asked)]
    varied = [name for name, values in numbers.items() if _varies(values)]
    found.append(
        _chart(
            "PARALLEL",
            selectedParams=words,
            selectedMetrics=[*varied, "retention"],
            showAllRuns=True,
        )
    )
    found += [
        _chart("CONTOUR", xaxis=_metric(x), yaxis=_metric(y), zaxis=_metric("retention"))
        for x, y in itertools.combinations(WEIGHTS, 2)
        if _makes_contour(set(zip(weights[x], weights[y], strict=True)))
    ]
    return found


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
