"""Scores of a model in memory, by lmms-eval's tasks, prompts and scoring rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from trainables.evaluation.catalog import TASKS, check_tasks
from trainables.evaluation.isolation import isolated
from trainables.evaluation.rows import task_rows
from trainables.evaluation.scoring import ScoreTable, TaskSamples, report
from trainables.records import EvaluationReport
from trainables.specs import Split


def evaluate(
    model: Any,
    processor: Any,
    tasks: Sequence[str],
    split: Split,
    *,
    task_folder: Path | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    max_new_tokens: int | None = None,
    dense: ScoreTable | None = None,
    blank_images: bool = False,
    log: Path | None = None,
) -> tuple[EvaluationReport, ScoreTable]:
    """Scores of `model` with standard errors, and the per-sample scores they come from.

    Leaves no trace in the process: random state, launch variables and output are as before.

    Args:
        model: a Hugging Face vision-language model in eval mode; it is not changed.
        processor: its processor, with a chat template.
        tasks: lmms-eval task names; an empty list means the embedded ones.
        split: which split the data is of.
        task_folder: task files of that split, from `write_task_files`.
        limit: the first so many samples of each embedded task; None is all. The files of a public
            benchmark hold no more samples than were asked for.
        batch_size: questions answered together.
        max_new_tokens: overrides the tasks' own answer lengths.
        dense: the dense model's per-sample scores; retention is paired with them.
        blank_images: show a grey image of the same size in place of each image.
        log: file that lmms-eval's output is appended to.

    Raises:
        ValueError: an unknown task, missing task files, NaN logits, or an unpairable dense table.
    """
    names = check_tasks(tasks)
    if task_folder is None:
        raise ValueError("evaluate needs `task_folder`; make it with write_task_files(data, ...)")

    def wrapped() -> Any:
        from trainables.evaluation.wrapper import InMemoryModel

        return InMemoryModel(model, processor, batch_size, max_new_tokens, blank_images)

    samples: dict[str, list[dict[str, Any]]] = {}
    seconds = 0.0
    for embedded in (True, False):
        some = [name for name in names if TASKS[name].embedded == embedded]
        if some:
            found, spent = _run(wrapped, some, task_folder, limit if embedded else None, log)
            samples.update(found)
            seconds += spent
    rows: dict[str, TaskSamples] = {}
    for name in names:
        rows.update(task_rows(TASKS[name], samples[name]))
    table = ScoreTable(rows, seconds)
    return report(split, table, dense), table


def _run(
    make_model: Callable[[], Any],
    names: Sequence[str],
    task_folder: Path,
    limit: int | None,
    log: Path | None,
) -> tuple[Mapping[str, list[dict[str, Any]]], float]:
    """lmms-eval's logged samples by task, and the seconds of the whole call without imports."""
    with isolated(log):
        from lmms_eval.evaluator import simple_evaluate
        from lmms_eval.tasks import TaskManager

        model = make_model()  # imports lmms-eval, so it is made in here
        start = time.perf_counter()
        result = simple_evaluate(
            model=model,
            tasks=list(names),
            task_manager=TaskManager(
                include_path=str(task_folder),
                include_defaults=False,  # indexing lmms-eval's own reads thousands of files
            ),
            limit=limit,
            bootstrap_iters=0,  # standard errors are ours: clustered by image
            random_seed=None,
            numpy_random_seed=None,
            torch_random_seed=None,
            process_docs_parallel=1,
            # Scoring then does not decode each image once more.
            cli_args=SimpleNamespace(process_with_media=False),
        )
        return result["samples"], time.perf_counter() - start
