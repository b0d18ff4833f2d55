"""Scores of a model in memory, by lmms-eval's tasks, prompts and scoring rules."""

import functools
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from trainables.common.device import is_out_of_memory
from trainables.common.names import one_line
from trainables.evaluation.answering.generation import Answer, Answerer, Question
from trainables.evaluation.answering.stopping import NaNLogitsError
from trainables.evaluation.benchmarks import BENCHMARKS
from trainables.evaluation.catalog import task_of
from trainables.evaluation.isolation import isolated
from trainables.evaluation.request import EvaluationRequest
from trainables.evaluation.sample_scores import task_rows
from trainables.evaluation.saved_tables import Keep, score_anew
from trainables.evaluation.scoring import report
from trainables.evaluation.sharding import Crew, WorkerError
from trainables.evaluation.targets import guessing, most_tokens, task_manager
from trainables.records import EvaluationReport
from trainables.records.score_table import ScoreTable
from trainables.specs import Split

Tokens = Callable[[str], int]


def score_tasks(
    model: Callable[[], Any],
    processor: Any,
    request: EvaluationRequest,
    *,
    log: Path | None = None,
    keep: Keep = score_anew,
    crew: Crew | None = None,
) -> ScoreTable:
    """Per-sample scores of a model.

    lmms-eval is run task by task, so that one crash loses one task; that costs 24 ms a task. A task
    that crashes leaves the others' scores, and `ScoreTable.failed` says why. NaN logits and a lack
    of memory are the model's fault, whatever the task, and end the evaluation. Leaves no trace in
    the process: random state, launch variables and output are as before.

    Args:
        model: hands out a Hugging Face vision-language model in eval mode, which is not changed;
            not called where all tables are kept already.
        processor: its processor, with a chat template.
        request: what is asked.
        log: file that lmms-eval's output is appended to.
        keep: where the tables of finished tasks are kept.
        crew: the trial's other workers, each of which answers a share of the questions.

    Raises:
        ValueError: an unknown task, missing task files, NaN logits, or no task that could be
            scored.
    """

    @functools.cache
    def answerer() -> Answerer:  # for all tasks: they share images
        return Answerer(model(), processor, request.batch_size)

    tokens = tokens_of(processor)
    tables: dict[str, ScoreTable] = {}
    failed: dict[str, str] = {}
    for name in request.tasks:
        try:
            score = functools.partial(_score_task, name, request, answerer, log, crew, tokens)
            tables[name] = keep(name, score)
        except NaNLogitsError as error:
            raise NaNLogitsError(f"task {name!r}: {error}") from error
        except WorkerError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            failed[name] = one_line(error)
            with isolated(log):
                traceback.print_exc()
    if not tables:
        raise ValueError(f"no task could be scored: {reasons(failed)}")
    return ScoreTable(
        {reported: rows for table in tables.values() for reported, rows in table.tasks.items()},
        sum(table.seconds or 0.0 for table in tables.values()),
        failed,
        {reported: score for table in tables.values() for reported, score in table.chance.items()},
    )


def judge(
    split: Split, table: ScoreTable, dense: ScoreTable | None
) -> tuple[EvaluationReport, ScoreTable]:
    """The report on a table with standard errors, and the part of the table it is about.

    A task that the dense model failed on counts as failed, since nothing can be compared there; the
    averages are over the others. Retention is paired with `dense`, the dense model's scores.

    Raises:
        ValueError: an unpairable dense table, or no task that could be scored.
    """
    failed = dict(table.failed)
    if dense is not None:
        for reported in table.tasks:
            task = task_of(reported)
            cause = dense.failed.get(task.name if task else reported)
            if cause is not None and reported not in dense.tasks:
                failed[reported] = f"the dense base has no score on it ({cause})"
    scored = {name: rows for name, rows in table.tasks.items() if name not in failed}
    if not scored:
        raise ValueError(f"no task could be scored: {reasons(failed)}")
    # The seconds are those of all tasks that were answered, comparable or not.
    update = {"failed": failed, "samples_per_second": table.samples_per_second}
    table = ScoreTable(scored, table.seconds, failed, table.chance)
    return report(split, table, dense).model_copy(update=update), table


def reasons(failed: dict[str, str]) -> str:
    """Every failed task and why, in one line."""
    return "; ".join(f"task {name!r}: {why}" for name, why in failed.items())


def _score_task(
    name: str,
    request: EvaluationRequest,
    answerer: Callable[[], Answerer],
    log: Path | None,
    crew: Crew | None,
    tokens: Tokens | None,
) -> ScoreTable:
    """One task's table; the workers of the crew, if there is one, answer a share each."""
    answer = answerer() if crew is None else crew.together(answerer(), name, request)
    with isolated(log):
        samples, seconds = run_task(name, request, answer, tokens)
        info = request.info(name)
        chance = {name: guessing(request.task_folder, info)} if info.own else {}
        table = ScoreTable(task_rows(info, samples), seconds, chance=chance)
        speed = len(samples) / seconds
        print(f"{name}: {len(samples)} questions, {speed:.1f} samples/s, {seconds:.1f} s")
    return table


def run_task(
    name: str,
    request: EvaluationRequest,
    answer: Callable[[Sequence[Question]], Sequence[Answer]],
    tokens: Tokens | None,
) -> tuple[list[dict[str, Any]], float]:
    """lmms-eval's logged samples of one task, and the seconds that they took; within `isolated`.

    `tokens` counts those of a text; without it an answer may be as long as the task says.
    """
    from lmms_eval.evaluator import simple_evaluate

    from trainables.evaluation.answering.wrapper import InMemoryModel

    most = most_tokens(request.task_folder, request.info(name), tokens) if tokens else None
    model = InMemoryModel(answer, request.max_new_tokens, request.blank_images, most)
    start = time.perf_counter()
    result = simple_evaluate(
        model=model,
        tasks=[name],
        task_manager=task_manager(request.task_folder),
        limit=None if name in BENCHMARKS else request.limit,
        bootstrap_iters=0,  # standard errors are ours: clustered by image
        random_seed=None,
        numpy_random_seed=None,
        torch_random_seed=None,
        process_docs_parallel=1,
        # Scoring then does not decode each image once more.
        cli_args=SimpleNamespace(process_with_media=False),
    )
    seconds = time.perf_counter() - start
    samples: list[dict[str, Any]] = result["samples"][name]
    return [{**s, "unfinished": s["doc_id"] in model.unfinished} for s in samples], seconds


def tokens_of(processor: Any) -> Tokens | None:
    """Counts the tokens of a text; None without a processor."""
    if processor is None:
        return None
    return lambda text: len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])
