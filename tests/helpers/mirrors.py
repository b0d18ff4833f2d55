"""MLflow mirrors of small sweeps, and all that their stores hold."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from analysis.load import Trial, load_sweep, load_trials
from analysis.output.frontier_files import write_frontier
from helpers.trials import make_dense, make_trial
from sweeps.engine.track.tracking import Mirror


def some_trials(sweep: str) -> list[Trial]:
    common: dict[str, Any] = {"sweep": sweep}
    return [
        make_trial("a", 0.5, weights_mib=6.0, ratio=0.6, **common),
        make_trial("b", 0.8, weights_mib=8.0, method="widthwise", origin="sampler", **common),
        make_trial("c", 0.7, weights_mib=9.0, scope="none", **common),
        make_trial("bad", status="failed", **common),
        make_trial("cut", 0.99, weights_mib=1.0, status="early_stopped", **common),
        make_dense(**common),
    ]


def sync(mirror: Mirror, folder: Path, **more: Any) -> None:
    mirror.sync(load_trials(folder), load_sweep(folder), **more)


def children(mirror: Mirror, query: str = "") -> dict[str, Any]:
    parts = [f"tags.`mlflow.parentRunId` = '{mirror.parent_id()}'", *([query] if query else [])]
    found = mirror._client.search_runs([mirror.experiment_id], " and ".join(parts))
    assert len({run.data.tags["trial_id"] for run in found}) == len(found)
    return {run.data.tags["trial_id"]: run for run in found}


def everything(mirror: Mirror) -> dict[str, Any]:
    """All that a store holds of the children, histories included."""
    held = {}
    for trial_id, run in children(mirror).items():
        histories = {
            name: [
                (m.value, m.step, m.timestamp)
                for m in mirror._client.get_metric_history(run.info.run_id, name)
            ]
            for name in run.data.metrics
        }
        held[trial_id] = (run.info.run_id, run.info.status, run.data.params, histories)
    return held


def csv_ids(folder: Path) -> set[str]:
    return {row["trial_id"] for row in csv.DictReader(write_frontier(folder).csv.open())}
