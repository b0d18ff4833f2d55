"""What the other workers of a trial do while the first one evaluates: answer their shares."""

import contextlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from trainables.common.device import is_out_of_memory
from trainables.common.names import one_line
from trainables.evaluation.answering.generation import Answer, Answerer, Question
from trainables.evaluation.answering.stopping import NaNLogitsError
from trainables.evaluation.harness import Tokens, run_task, tokens_of
from trainables.evaluation.isolation import isolated
from trainables.evaluation.sharding import (
    Exchange,
    ShardRequest,
    Share,
    Whose,
    WorkerError,
    questions_digest,
)


class _HandedInError(Exception):
    """Ends lmms-eval's run once the answers are there: the first worker scores them."""


def serve(
    exchange: Exchange, models: Callable[[Whose], Any], processor: Any, log: Path | None
) -> None:
    """Answer this worker's share of everything the first worker posts, until it ends.

    What goes wrong is handed in, for the first worker to judge: it knows whether the task or the
    model is to blame.

    Args:
        exchange: where the workers meet.
        models: hands out a student or the dense model; called when one is first asked.
        processor: of both models.
        log: file that lmms-eval's output is appended to.

    Raises:
        WorkerError: the first worker failed, or is not heard of any more.
    """
    exchange.beat()
    answerers: dict[Whose, Answerer] = {}
    tokens = tokens_of(processor)
    for number, request in exchange.requests():
        try:
            if request.model not in answerers:
                answerers = {k: v for k, v in answerers.items() if k == "dense"}  # one student
                model = models(request.model)
                answerers[request.model] = Answerer(model, processor, request.evaluation.batch_size)
            share = _share(exchange, answerers[request.model], request, log, tokens)
        except WorkerError:
            raise
        except Exception as error:
            traceback.print_exc()
            share = Share(error=one_line(error), fault=_fault(error))
        exchange.hand_in(number, share)


def _share(
    exchange: Exchange,
    answerer: Answerer,
    request: ShardRequest,
    log: Path | None,
    tokens: Tokens | None,
) -> Share:
    answers: list[Answer] = []

    def answer(questions: Sequence[Question]) -> list[Answer]:
        if questions_digest(questions) != request.questions:
            raise ValueError(
                f"this worker's questions of task {request.task!r} are not those of the first "
                "worker; every node must see the same data"
            )
        answers.extend(answerer(exchange.mine(questions), exchange.beat))
        raise _HandedInError

    with isolated(log), contextlib.suppress(_HandedInError):
        run_task(request.task, request.evaluation, answer, tokens)
    return Share(answers=tuple((answer.text, answer.unfinished) for answer in answers))


def _fault(error: Exception) -> Literal["task", "nan", "memory"]:
    if isinstance(error, NaNLogitsError):
        return "nan"
    return "memory" if is_out_of_memory(error) else "task"
