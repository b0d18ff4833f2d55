"""Real sweeps of the embedded model, started as a user would start them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.small_sweeps import Prunesweep, Start, environment, write_sweep


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One storage folder for all integration tests: they share the generated data."""
    return tmp_path_factory.mktemp("storage") / "runs"


@pytest.fixture(scope="session")
def sweep_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a small sweep file of this name and returns its path."""
    folder = tmp_path_factory.mktemp("sweeps")
    return lambda name, **changes: write_sweep(folder / f"{name}.py", **changes)


@pytest.fixture(scope="session")
def prunesweep(storage: Path) -> Prunesweep:
    """A function that runs the command line to its end; returns the finished process."""

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sweeps.engine.cli", *map(str, arguments)]
        command += ["--storage", str(storage)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment(), timeout=540, check=False
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture
def start(storage: Path) -> Iterator[Start]:
    """A function that starts a run in the background; whatever is left is killed at the end."""
    running: list[subprocess.Popen[str]] = []

    def go(path: Path, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sweeps.engine.cli", "run", str(path), *more]
        command += ["--storage", str(storage)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment(), start_new_session=True,
            # A shell's background job, which these tests may be part of, ignores SIGINT.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        running.append(process)
        return process

    yield go
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture(scope="session")
def swept(
    prunesweep: Prunesweep, sweep_file: Callable[..., Path], storage: Path
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of the finished sweep `small`, and what its run printed."""
    done = prunesweep("run", sweep_file("small"))
    return storage / "small", done
