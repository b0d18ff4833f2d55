"""Lies beside the task files of public benchmarks, which call `!function docs.<task>__<part>`."""

from pathlib import Path
from typing import Any


def __getattr__(name: str) -> Any:
    from trainables.evaluation.benchmarks.documents import hook

    return hook(Path(__file__).parent, name)
