"""Scores of a model in memory, by lmms-eval's tasks, prompts and scoring rules."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from trainables.evaluation.catalog import TASKS, TaskInfo, check_tasks
from trainables.evaluation.isolation import isolated
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
        split: which split the data is of; the embedded tasks have two, others one.
        task_folder: task files of that split, from `write_task_files`; needed by embedded tasks.
        limit: the first so many samples of each task; None is all.
        batch_size: questions answered together.
        max_new_tokens: overrides the tasks' own answer lengths.
        dense: the dense model's per-sample scores; retention is paired with them.
        blank_images: show a grey image of the same size in place of each image.
        log: file that lmms-eval's output is appended to.

    Raises:
        ValueError: an unknown task, missing task files, NaN logits, or an unpairable dense table.
    """
    names = check_tasks(tasks)
    if task_folder is None and any(TASKS[name].embedded for name in names):
        raise ValueError(
            "the embedded tasks need `task_folder`; make it with write_task_files(data, split, ...)"
        )

    def wrapped() -> Any:
        from trainables.evaluation.wrapper import InMemoryModel

        return InMemoryModel(model, processor, batch_size, max_new_tokens, blank_images)

    samples, seconds = _run(wrapped, names, task_folder, limit, log)
    rows: dict[str, TaskSamples] = {}
    for name in names:
        rows.update(_ROWS[TASKS[name].rows](TASKS[name], samples[name]))
    table = ScoreTable(rows, seconds)
    return report(split, table, dense), table


def _run(
    make_model: Callable[[], Any],
    names: Sequence[str],
    task_folder: Path | None,
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
                include_path=str(task_folder) if task_folder else None,
                # Indexing lmms-eval's own tasks reads thousands of files.
                include_defaults=not all(TASKS[name].embedded for name in names),
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


def _sample_rows(info: TaskInfo, samples: Iterable[dict[str, Any]]) -> dict[str, TaskSamples]:
    """One score per sample: the value of the task's metric, or its `score` entry."""
    ordered = sorted(samples, key=lambda sample: int(sample["doc_id"]))
    values = [sample[info.metric] for sample in ordered]
    scores = [v["score"] if isinstance(v, dict) else v for v in values]
    return {
        info.name: TaskSamples(
            doc_ids=tuple(int(sample["doc_id"]) for sample in ordered),
            image_ids=tuple(_image_id(info, sample) for sample in ordered),
            scores=100.0 * np.array(scores, dtype=np.float64),
            weights=np.ones(len(ordered)),
            answers=tuple(str(sample["filtered_resps"][0]) for sample in ordered),
        )
    }


def _mme_rows(info: TaskInfo, samples: Iterable[dict[str, Any]]) -> dict[str, TaskSamples]:
    """MME's two scores on 0..100 (cognition / 8, perception / 20) as weighted means over images.

    MME adds, per category, the mean over its images of accuracy (0..100) and both-right (0 or 100).
    Half of that sum is an image's score here; the weight makes all categories equal.
    """
    pairs: dict[str, dict[tuple[str, str], list[dict[str, Any]]]] = defaultdict(dict)
    for sample in sorted(samples, key=lambda s: int(s["doc_id"])):
        for part in ("perception", "cognition"):
            entry = sample.get(f"mme_{part}_score")
            if entry is not None:
                key = (entry["category"], str(entry["question_id"]))
                pairs[f"mme_{part}"].setdefault(key, []).append({**sample, "right": entry["score"]})
    return {name: _mme_images(info, images) for name, images in pairs.items()}


def _mme_images(
    info: TaskInfo, images: Mapping[tuple[str, str], list[dict[str, Any]]]
) -> TaskSamples:
    categories = [category for category, _ in images]
    right = [[float(sample["right"]) for sample in pair] for pair in images.values()]
    return TaskSamples(
        doc_ids=tuple(int(pair[0]["doc_id"]) for pair in images.values()),
        image_ids=tuple(f"{info.images}:{image}" for _, image in images),
        scores=np.array([50.0 * (np.mean(r) + float(sum(r) == 2)) for r in right]),
        weights=np.array([1.0 / categories.count(category) for category in categories]),
        answers=tuple(
            " | ".join(str(sample["filtered_resps"][0]) for sample in pair)
            for pair in images.values()
        ),
    )


def _image_id(info: TaskInfo, sample: dict[str, Any]) -> str:
    """The cluster of a sample; images of one collection share it across tasks."""
    if info.image_key is None:
        return f"{info.name}:{sample['doc_id']}"
    return f"{info.images}:{sample['doc'][info.image_key]}"


_ROWS = {"sample": _sample_rows, "mme": _mme_rows}
