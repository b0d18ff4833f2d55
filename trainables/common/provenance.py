"""Where a record comes from and what it cost: versions, host, seconds by stage."""

import functools
import importlib.metadata
import platform
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import torch

from trainables.common.device import device_name
from trainables.records import CostReport, Provenance

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


class Clock:
    """Seconds by stage: `with clock("recover"): ...`.

    Stages may be entered again and may nest; a second counts for the innermost stage only.
    """

    def __init__(self) -> None:
        self.started = now()
        self._start = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._inner: list[float] = []  # seconds spent in stages nested in each open one
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of the block for `stage`."""
        start = time.monotonic()
        self._inner.append(0.0)
        try:
            yield
        finally:
            whole = time.monotonic() - start
            own = whole - self._inner.pop()
            self._seconds[stage] = self._seconds.get(stage, 0.0) + own
            if self._inner:
                self._inner[-1] += whole

    def cost(self, device: torch.device, devices: int) -> CostReport:
        """The cost so far; device seconds are seconds times the devices held."""
        peak = None
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() / 2**20
        return CostReport(
            device=device_name(device),
            devices=devices,
            device_seconds={k: round(v * devices, 3) for k, v in self._seconds.items()},
            wall_seconds=round(time.monotonic() - self._start, 3),
            peak_memory_mib=peak,
        )


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
