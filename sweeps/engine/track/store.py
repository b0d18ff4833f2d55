"""The tracking store: where it lies, how it is opened, and links to the sweeps that it holds."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.engine.spec.loading import BadInputError
from sweeps.engine.track.saved_view import TAG, view_link

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SETTINGS = {  # of MLflow in this process, unless the user has set them
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # By default a request to a dead server takes 255 s, to a silent one 20 minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}


def default_uri(storage: Path) -> str:
    """The tracking store that lies in the storage folder, whatever characters its path has."""
    path = str(Path(storage).resolve() / "mlflow.db")
    quoted = path.replace("%", "%25").replace("?", "%3F")
    # MLflow makes the parent folder of `sqlite:///`, and takes the quoted name for it.
    return f"sqlite:///{path}" if quoted == path else f"sqlite+pysqlite:///{quoted}"


def is_database(uri: str) -> bool:
    """Whether a tracking store is a database, which keeps no files."""
    return uri.partition(":")[0].partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")


def check_driver(uri: str) -> None:
    """Refuse a database whose driver is not installed.

    Raises:
        BadInputError: names what is missing.
    """
    if not is_database(uri):
        return
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError) as error:
        raise BadInputError(f"--tracking-uri is no address of a database ({error})") from None
    except ImportError as error:
        extra = "; install prunesweep[postgresql]" if uri.startswith("postgresql") else ""
        raise BadInputError(
            f"the database of --tracking-uri needs the driver {error.name!r}, which is not "
            f"installed{extra or '; install it beside prunesweep'}"
        ) from None


def open_store(uri: str) -> MlflowClient:
    """A client of the store, which says nothing by itself; a new SQLite database takes 6 s."""
    _set_up()
    from mlflow.tracking import MlflowClient

    # A new database announces its migrations line by line, a dead server each retry, and one on a
    # full disk what it was to write, with hundreds of lines. What went wrong is raised.
    for name in ("mlflow", "alembic", "urllib3.connectionpool", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(tracking_uri=uri)


def sweep_links(uri: str, host: str, port: int) -> dict[str, str]:
    """Where `prunesweep ui` shows the trials of each sweep of the store, by the sweep's name.

    Empty for a store that cannot be read, of which MLflow's server says more. From here on the
    environment holds `SETTINGS`, so that a server which this process starts has them too.
    """
    _set_up()
    from mlflow.exceptions import MlflowException

    try:
        found = open_store(uri).search_experiments()
    except MlflowException:
        return {}
    shown = (each for each in found if f"{TAG}trials" in each.tags)
    return {each.name: view_link(uri, each.experiment_id, host, port) for each in shown}


def _set_up() -> None:
    """Settings that MLflow reads when it is imported, so before that."""
    for variable, value in SETTINGS.items():
        os.environ.setdefault(variable, value)
