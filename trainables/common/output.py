"""Where a process's output goes while it does a job."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Append everything that this process prints, C code included, to a log file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    saved = [os.dup(1), os.dup(2)]
    with path.open("a", buffering=1, encoding="utf-8") as log, warnings.catch_warnings():
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                yield
        finally:
            _flush()
            log.flush()
            for descriptor, target in zip(saved, (1, 2), strict=True):
                os.dup2(descriptor, target)
                os.close(descriptor)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
