"""MLflow's own server on the sweep's store, on this machine only unless told otherwise."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from sweeps.engine.spec.loading import BadInputError


def serve(storage: Path, host: str, port: int, tracking_uri: str | None) -> None:
    """Replace this process by MLflow's server.

    Raises:
        BadInputError: nothing to show, or the port is taken.
    """
    from sweeps.engine.track.tracking import default_uri

    if tracking_uri is None and not (storage / "mlflow.db").exists():
        raise BadInputError(
            f"{storage} holds no mlflow.db yet; run a sweep first, or give --storage"
        )
    uri = tracking_uri or default_uri(storage)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInputError(
                f"port {port} on {host} cannot be used ({error.strerror}); choose another with "
                "--port"
            ) from None
    print(f"MLflow shows {uri} on port {port} of {host}; Ctrl-C ends it.", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.execv(sys.executable, command)
