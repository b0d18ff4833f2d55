"""What a task's own targets say: what guessing scores, and how long an answer need be.

Imported where lmms-eval is; see `harness`.
"""

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trainables.evaluation.benchmarks.benchmark import TaskInfo
from trainables.evaluation.sample_scores import plain_scores

GUESSES = 3  # most frequent targets of which the best one is the guess
SPARE_TOKENS = 4  # an answer may be cut into more tokens than its target, and has an end


@functools.lru_cache(maxsize=4)
def task_manager(task_folder: Path) -> Any:
    """lmms-eval's index of the tasks in a folder; indexing its own ones would read thousands."""
    from lmms_eval.tasks import TaskManager

    return TaskManager(include_path=str(task_folder), include_defaults=False)


@functools.lru_cache(maxsize=32)
def load_task(task_folder: Path, name: str) -> Any:
    """A task with its documents, as lmms-eval makes it of its file."""
    from lmms_eval.tasks import get_task_dict

    return get_task_dict([name], task_manager(task_folder))[name]


@functools.lru_cache(maxsize=32)
def targets(task_folder: Path, name: str) -> tuple[tuple[str, ...], ...]:
    """What counts as right, for each document; several where any of them does."""
    task = load_task(task_folder, name)
    found = (task.doc_to_target(doc) for doc in task.eval_docs_no_media)
    return tuple(
        tuple(map(str, target)) if isinstance(target, list | tuple) else (str(target),)
        for target in found
    )


@functools.lru_cache(maxsize=32)
def guessing(task_folder: Path, info: TaskInfo) -> float:
    """Score, 0..100, of always giving the same answer: the best of the most frequent targets."""
    task = load_task(task_folder, info.name)
    given = Counter(target[0] for target in targets(task_folder, info.name) if target)
    docs = list(task.eval_docs_no_media)
    scores = [0.0]
    for answer, _ in given.most_common(GUESSES):
        found = [task.process_results(doc, [answer])[info.metric] for doc in docs]
        scores.append(100.0 * float(np.mean(plain_scores(found))))
    return max(scores)


def most_tokens(task_folder: Path, info: TaskInfo, tokens: Callable[[str], int]) -> int | None:
    """Tokens after which no answer can score any more; None where that is not known.

    Args:
        task_folder: of the task's file.
        info: what is known of the task.
        tokens: counts those of a text.
    """
    if not info.answer_lengths:
        return None
    right = {text for target in targets(task_folder, info.name) for text in target}
    longest = max((tokens(text) for text in right), default=0)
    return (info.answer_lengths + 1) * longest + SPARE_TOKENS
