"""Where a record comes from: versions, host, times; torch-free, since the driver asks too."""

import functools
import importlib.metadata
import platform
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from trainables.records import Provenance

PACKAGES = (
    "torch", "transformers", "peft", "deepspeed", "ray", "lmms-eval", "datasets", "optuna",
    "bitsandbytes", "torchao",
)  # fmt: skip


def now() -> str:
    """The current time, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def collect_provenance(
    attempt: str, started: str, weights_digest: str | None = None, data_digest: str | None = None
) -> Provenance:
    """The provenance of a record that is being finished now."""
    return Provenance(
        prunesweep=_version("prunesweep") or "unknown",
        git_commit=_git_commit(),
        packages=versions(*PACKAGES),
        host=socket.gethostname(),
        python=platform.python_version(),
        weights_digest=weights_digest,
        data_digest=data_digest,
        attempt=attempt,
        started=started,
        finished=now(),
    )


def versions(*packages: str) -> dict[str, str]:
    """The versions of those packages that are installed."""
    return {name: found for name in packages if (found := _version(name))}


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _git_commit() -> str | None:
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():  # installed: an enclosing repository is somebody else's
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
