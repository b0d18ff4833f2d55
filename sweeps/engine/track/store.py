"""The tracking store: where it lies, how it is opened, and links to the sweeps that it holds."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.engine.spec.loading import BadInputError
from sweeps.engine.track.saved_view import TAG, view_link
from trainables.common.names import first_line

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

OLDEST_SERVER = 3  # major version; 2 has no logged models, and its pages no saved views
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


def own_uri(storage: Path, given: str | None) -> str:
    """The tracking store that was given, else the storage's own, which must be there.

    Raises:
        BadInputError: it is not.
    """
    if given is None and not (storage / "mlflow.db").exists():
        raise BadInputError(
            f"{storage} holds no mlflow.db yet; run a sweep first, or give --storage"
        )
    return given or default_uri(storage)


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


def load() -> None:
    """Import MLflow, for which a busy machine takes its time, and which waits for nobody."""
    _set_up()
    import mlflow.tracking  # noqa: F401


def open_store(uri: str) -> MlflowClient:
    """A client of the store, which says nothing by itself; a new SQLite database takes 6 s."""
    _set_up()
    from mlflow.tracking import MlflowClient

    # A new database announces its migrations line by line, a dead server each retry, and one on a
    # full disk what it was to write, with hundreds of lines. What went wrong is raised.
    for name in ("mlflow", "alembic", "urllib3.connectionpool", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(tracking_uri=uri)


def reason(error: BaseException) -> str:
    """One line: what the system or the database said, where it is the cause, else the error's."""
    if isinstance(error, BadInputError):
        return str(error)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | TimeoutError) and not cause.__context__:
            return cause.strerror or str(cause)
        if orig := getattr(cause, "orig", None):  # SQLAlchemy's, around the driver's own
            return first_line(orig)
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {error}".splitlines()[0]


def shown_uri(uri: str) -> str:
    """The address without its password."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", uri)


@contextmanager
def one_line_errors(uri: str) -> Iterator[None]:
    """Whatever MLflow or its server raises during the block says so in one line.

    Raises:
        BadInputError: in place of it.
    """
    try:
        yield
    except BadInputError:
        raise
    except Exception as error:
        raise BadInputError(f"MLflow at {shown_uri(uri)}: {reason(error)}") from error


def refuse_foreign(client: MlflowClient, experiment: Experiment) -> None:
    """Leave alone an experiment that holds runs, and none of a sweep's.

    Runs in the trash count: whoever deleted a sweep's parent run has still a sweep there.

    Raises:
        BadInputError: it is somebody else's.
    """
    from mlflow.entities import ViewType

    def held(query: str) -> bool:
        found = client.search_runs([experiment.experiment_id], query, ViewType.ALL, max_results=1)
        return bool(found)

    if not held("tags.sweep != ''") and held(""):
        raise BadInputError(
            f"its experiment {experiment.name!r} holds runs that are no sweep's; rename the "
            "experiment there, or the sweep"
        )


def check_server(uri: str) -> None:
    """Refuse a server that is older than what is written to it.

    Raises:
        BadInputError: it says that it is.
        MlflowException: it does not answer.
    """
    if not uri.startswith(("http://", "https://")):
        return  # MLflow itself refuses a database of another version
    version = re.match(r"(\d+)\.\d+", _asked(uri, "/version"))  # not every server says one
    if version and int(version[1]) < OLDEST_SERVER:
        raise BadInputError(
            f"the server runs MLflow {version.string.strip()[:20]}, and what is written here needs "
            f"{OLDEST_SERVER}.0 or later; update it, or give another --tracking-uri"
        )


@functools.cache
def knows_views(uri: str) -> bool:
    """Whether the page that shows the store knows saved views, as far as its script tells.

    Of a database it is the page of the MLflow that is installed here. True where it cannot be read.
    """
    try:
        if not uri.startswith(("http://", "https://")):
            import mlflow

            scripts = Path(mlflow.__file__).parent / "server/js/build/static/js"
            return any(TAG.encode() in path.read_bytes() for path in scripts.glob("main.*.js"))
        page = _asked(uri, "/")
        script = re.search(r'src="[^"]*?(static-files/static/js/main\.[^"]*)"', page)
        return script is None or TAG in _asked(uri, f"/{script[1]}")
    except Exception:  # whatever a server or a network raises
        return True


def _asked(uri: str, path: str) -> str:
    """What a server answers, with the name, password or token that MLflow was given for it."""
    from mlflow.tracking._tracking_service.utils import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    return str(http_request(get_default_host_creds(uri), path, "GET").text)


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
    views = knows_views(uri)
    return {each.name: view_link(uri, each.experiment_id, host, port, views) for each in shown}


def _set_up() -> None:
    """Settings that MLflow reads when it is imported, so before that."""
    for variable, value in SETTINGS.items():
        os.environ.setdefault(variable, value)
