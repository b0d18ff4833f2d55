"""Asking another process that has torch, which the driver does not import, and keeping answers.

They cost some seconds, so they are kept in the user's cache folder.
"""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from trainables.common.cache import cache
from trainables.common.files import replace_file

T = TypeVar("T")


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


def kept_answers() -> Path:
    """The folder of earlier answers, one file each, named by question and by who answered."""
    return cache() / "counted"


def kept_answer(by: str, question: str, parse: Callable[[str], T], ask: Callable[[], str]) -> T:
    """The answer that was kept, or else that of `ask`, which is kept from now on.

    Args:
        by: who answers: whatever the answer depends on besides the question.
        question: what is asked, in full.
        parse: raises ValueError for what is no answer.
        ask: gives the answer as JSON.
    """
    name = hashlib.sha256(f"{by}{question}".encode()).hexdigest()[:16]
    path = kept_answers() / f"{name}.json"
    with suppress(OSError, ValueError):
        return parse(path.read_text(encoding="utf-8"))
    answer = ask()
    with suppress(OSError):  # a read-only home: the next one asks again
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, answer.encode())
    return parse(answer)


def code_of(*folders: str) -> str:
    """Digest of our code in folders of `trainables`."""
    root, code = Path(__file__).parents[3] / "trainables", hashlib.sha256()
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            code.update(path.read_bytes())
    return code.hexdigest()
