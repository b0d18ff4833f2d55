"""MLflow's server on PostgreSQL and S3 dies in the middle of a sweep, and comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.mlflow_servers import MlflowServer, mlflow_server, postgresql
from helpers.small_sweeps import Prunesweep, Start, environment, wait

from sweeps.engine.track.store import open_store
from trainables.common.objects import objects_at
from trainables.records import RECORD

pytestmark = [pytest.mark.integration, pytest.mark.slow]
POINTS = tuple(
    {"method": "layerwise", "ratio": 0.3, "scope": "projector", "lr_scale": scale}
    for scale in (0.5, 1.0, 2.0)
)


@pytest.fixture
def artifacts(bucket: str, tmp_path: Path) -> str:
    return f"{bucket}/{tmp_path.name}"


@pytest.fixture
def server(artifacts: str, tmp_path: Path) -> Iterator[MlflowServer]:
    (tmp_path / "pg").mkdir()
    with (
        postgresql(tmp_path / "pg") as database,
        mlflow_server(tmp_path, database, environment(), artifacts) as server,
    ):
        yield server


def _runs(server: MlflowServer, sweep: str) -> Counter[tuple[str, str]]:
    """How often MLflow has a trial, by its id and status, those in the trash among them."""
    from mlflow.entities import ViewType

    client = open_store(server.uri)
    experiment = client.get_experiment_by_name(sweep)
    if experiment is None:
        return Counter()
    query = "tags.trial_id != ''"
    runs = client.search_runs([experiment.experiment_id], query, ViewType.ALL)
    return Counter((run.data.tags["trial_id"], run.info.status) for run in runs)


def test_a_server_that_dies_gets_every_trial_once(
    server: MlflowServer,
    artifacts: str,
    start: Start,
    prunesweep: Prunesweep,
    sweep_file: Callable[..., Path],
    storage: Path,
) -> None:
    def records() -> int:
        return len(list((storage / "served").glob(f"trials/*/{RECORD}")))

    path = sweep_file("served", designed=POINTS)
    uri = ("--tracking-uri", server.uri)
    process = start(path, *uri)
    wait(lambda: bool(_runs(server, "served")), process)
    server.kill()
    wait(lambda: records() >= 3, process)
    server.start()
    server.wait()
    wait(lambda: records() == 4, process)
    server.kill()  # for good, as far as this run goes
    output, _ = process.communicate(timeout=540)
    assert process.returncode == 0, output
    assert "4 trials completed" in output
    assert f"MLflow at {server.uri} could not be written" in output
    assert (storage / "served" / "frontier.csv").exists()
    server.start()
    server.wait()
    again = prunesweep("run", path, *uri).stdout
    assert "0 jobs in this run" in again
    names = {p.parent.name for p in (storage / "served").glob(f"trials/*/{RECORD}")}
    assert _runs(server, "served") == Counter((name, "FINISHED") for name in names)
    files = {name.rpartition("/")[2] for name in objects_at(artifacts).listed()}
    assert {"frontier.csv", "report.html"} <= files
