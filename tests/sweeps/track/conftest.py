"""One database for the tests of a file, and a sweep of its own for each of them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from sweeps.engine.track.store import default_uri

NAMES = (f"sweep{i}" for i in itertools.count())


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def sweep(storage: Path) -> str:
    """A name of its own for each test, so that all share one database (6 s to make)."""
    return next(NAMES)


@pytest.fixture
def global_store(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' database as MLflow's global store, which `load_table` searches."""
    # Not by `set_tracking_uri`: handing it back what was in force sets the variable for good, to a
    # database in the working directory, and later sweeps of this process are mirrored there.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(storage))
