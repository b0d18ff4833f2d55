"""Speed of an evaluation against that of lmms-eval's own model class, one question at a time.

Usage: `python tests/benchmarks/evaluation.py [questions per kind] [rounds]`, minutes on one core.
Both answer the same questions with the embedded model, by the same tasks and scoring of lmms-eval,
in one process on one thread, in turns; the answers must be the same. `llava_hf` is the class that
lmms-eval has for models of this architecture; it answers at batch size 1 and refuses others.
Prints the median of the samples per second of each, the quartiles, and the medians' ratio.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from trainables.embedded.tiny_dataset import prepare
from trainables.evaluation.catalog import embedded_tasks
from trainables.evaluation.harness import score_tasks
from trainables.evaluation.isolation import isolated
from trainables.evaluation.request import EvaluationRequest
from trainables.evaluation.task_files import write_task_files
from trainables.models.families.registry import TINY_FOLDER

BATCH_SIZE = 32
LEAST_RATIO = 3.0
Answers = dict[str, list[str]]


def ours(model: Any, processor: Any, folder: Path, limit: int) -> tuple[Answers, float]:
    """Answers by task, and the seconds that they took."""
    table = score_tasks(
        lambda: model,
        processor,
        EvaluationRequest(
            tasks=embedded_tasks(),
            split="search",
            task_folder=folder,
            limit=limit,
            batch_size=BATCH_SIZE,
        ),
    )
    assert table.seconds is not None
    return {task: list(rows.answers) for task, rows in table.tasks.items()}, table.seconds


def theirs(folder: Path, limit: int) -> tuple[Answers, float]:
    """The same of lmms-eval's own class; loading the model and freeing it are not counted."""
    with isolated():
        # It reads videos with decord, which is not installed, and shows none here.
        absent = types.ModuleType("decord")
        absent.VideoReader = absent.cpu = None  # type: ignore[attr-defined]
        sys.modules.setdefault("decord", absent)
        from lmms_eval.evaluator import simple_evaluate
        from lmms_eval.models.simple.llava_hf import LlavaHf
        from lmms_eval.tasks import TaskManager

        model = LlavaHf(
            pretrained=str(TINY_FOLDER),
            device="cpu",
            device_map="cpu",
            dtype="float32",
            batch_size=1,
            chat_template=(TINY_FOLDER / "chat_template.jinja").read_text(encoding="utf-8"),
        )
        model.clean = lambda: None
        start = time.perf_counter()
        result = simple_evaluate(
            model=model,
            tasks=list(embedded_tasks()),
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            limit=limit,
            bootstrap_iters=0,
            process_docs_parallel=1,
            cli_args=SimpleNamespace(process_with_media=False),
        )
        seconds = time.perf_counter() - start
    answers = {
        task: [str(s["filtered_resps"][0]).strip() for s in sorted(logged, key=_doc_id)]
        for task, logged in result["samples"].items()
    }
    return answers, seconds


def _doc_id(sample: dict[str, Any]) -> int:
    return int(sample["doc_id"])


def _say(name: str, speeds: list[float]) -> float:
    """Print the median and the quartiles; hand back the median."""
    lower, median, upper = statistics.quantiles(speeds, n=4, method="inclusive")
    print(f"{name:24} {median:8.1f} samples/s  [{lower:.1f}, {upper:.1f}]")
    return median


def main() -> None:
    """Print samples per second of both ways; exit code 1 where an answer differs."""
    limit = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    torch.set_num_threads(1)
    model = LlavaForConditionalGeneration.from_pretrained(TINY_FOLDER, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(TINY_FOLDER)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_task_files(
            {"tiny": prepare(Path(scratch))}, "search", Path(scratch) / "tasks"
        )
        ours(model, processor, folder, 2)  # imports, and the datasets' arrow files
        theirs(folder, 2)
        speeds: tuple[list[float], list[float]] = ([], [])
        same = True
        for _ in range(rounds):
            said, seconds = ours(model, processor, folder, limit)
            others, other_seconds = theirs(folder, limit)
            samples = sum(map(len, said.values()))
            speeds[0].append(samples / seconds)
            speeds[1].append(samples / other_seconds)
            same = same and said == others
    print(f"questions                {samples}, {rounds} rounds in turns, one thread")
    print(f"same answers             {'yes' if same else 'NO'}")
    ratio = _say("prunesweep, batch 32", speeds[0]) / _say("llava_hf, batch 1", speeds[1])
    print(f"ratio of the medians     {ratio:8.2f} (at least {LEAST_RATIO:.0f} is wanted)")
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
