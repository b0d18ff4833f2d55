"""Asking another process that has torch, which the driver does not import."""

import subprocess
import sys
from collections.abc import Mapping


def answer_of(
    module: str,
    question: str,
    failure: str,
    *,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float | None = None,
) -> str:
    """What `python -m module` writes when it reads the question.

    Args:
        module: one of ours.
        question: as JSON.
        failure: what to say if it fails, before the reason.
        environment: of the process; None is that of this one.
        timeout_seconds: None waits for as long as it takes.

    Raises:
        ValueError: it failed; the reason is the last line that it complained of.
        subprocess.TimeoutExpired: it took longer than it may.
    """
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=question,
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout_seconds,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise ValueError(f"{failure}: {lines[-1]}")
    return done.stdout
