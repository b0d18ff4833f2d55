"""Workers that answer together: the same answers in order, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from trainables.evaluation.answering.generation import Answer, Question
from trainables.evaluation.answering.stopping import NaNLogitsError
from trainables.evaluation.request import EvaluationRequest
from trainables.evaluation.sharding import (
    Crew,
    Exchange,
    Share,
    WorkerError,
    questions_digest,
)

REQUEST = EvaluationRequest(tasks=("gqa",), split="search", task_folder=Path("tasks"), batch_size=4)
QUESTIONS = [Question(f"question {i}", lambda: [], 8) for i in range(11)]


def reply(questions: Sequence[Question], after_batch: Callable[[], None]) -> list[Answer]:
    after_batch()
    return [Answer(q.text.upper(), q.text.endswith("7")) for q in questions]


def helper(
    exchange: Exchange, share: Callable[[Sequence[Question]], Share], said: list[Any]
) -> Any:
    """A thread that serves as another worker; it notes what it was asked and how it ended."""

    def run() -> None:
        try:
            for number, request in exchange.requests():
                said.append(request)
                exchange.hand_in(number, share(exchange.mine(QUESTIONS)))
        except WorkerError as error:
            said.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def honest(questions: Sequence[Question]) -> Share:
    answers = reply(questions, lambda: None)
    return Share(answers=tuple((a.text, a.unfinished) for a in answers))


@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_answers_are_those_of_one_worker(tmp_path: Path, world: int) -> None:
    expected = reply(QUESTIONS, lambda: None)
    exchanges = [Exchange(tmp_path / "meeting", rank, world) for rank in range(world)]
    shares = [exchange.mine(QUESTIONS) for exchange in exchanges]
    assert [q for share in shares for q in share] == QUESTIONS
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    asked: list[Any] = []
    threads = [helper(exchange, honest, asked) for exchange in exchanges[1:]]
    for model in ("dense", "student"):
        answer = Crew(exchanges[0], model).together(reply, "gqa", REQUEST)
        assert answer(QUESTIONS) == expected
    exchanges[0].end()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert sorted(e.model for e in asked) == sorted(["dense", "student"] * (world - 1))
    assert {e.questions for e in asked} == {questions_digest(QUESTIONS)}
    assert not (tmp_path / "meeting").exists()


@pytest.mark.parametrize(
    ("fault", "kind"), [("task", ValueError), ("nan", NaNLogitsError), ("memory", WorkerError)]
)
def test_what_goes_wrong_at_a_worker_is_raised_by_the_first(
    tmp_path: Path, fault: Any, kind: type[Exception]
) -> None:
    first, other = (Exchange(tmp_path, rank, 2) for rank in range(2))
    said: list[Any] = []
    thread = helper(other, lambda asked: Share(error="row 7 is broken", fault=fault), said)
    with pytest.raises(kind, match=r"row 7 is broken \(worker 1\)"):
        Crew(first, "student").together(reply, "gqa", REQUEST)(QUESTIONS)
    first.end("row 7 is broken (worker 1)")
    thread.join(10)
    assert not thread.is_alive()
    assert str(said[-1]) == "worker 0 gave up: row 7 is broken (worker 1)"


def test_a_worker_without_a_sign_of_life_is_given_up(tmp_path: Path) -> None:
    first = Exchange(tmp_path, 0, 2, patience_seconds=0.4)
    started = time.monotonic()
    with pytest.raises(WorkerError, match="worker 1 does not answer task 'gqa', and has given no"):
        Crew(first, "student").together(reply, "gqa", REQUEST)(QUESTIONS)
    assert time.monotonic() - started < 5


def test_a_slow_worker_that_goes_on_is_waited_for(tmp_path: Path) -> None:
    first = Exchange(tmp_path, 0, 2, patience_seconds=1.0)
    other = Exchange(tmp_path, 1, 2)

    def slowly(asked: Sequence[Question]) -> Share:
        for _ in range(8):
            time.sleep(0.3)
            other.beat()
        return honest(asked)

    thread = helper(other, slowly, [])
    assert len(Crew(first, "student").together(reply, "gqa", REQUEST)(QUESTIONS)) == len(QUESTIONS)
    first.end()
    thread.join(10)
    assert not thread.is_alive()


def test_workers_do_not_wait_for_ever_for_the_first(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="worker 0 asks for nothing"):
        list(Exchange(tmp_path, 1, 2, idle_seconds=0.3).requests())


def test_a_worker_notices_between_batches_that_the_first_gave_up(tmp_path: Path) -> None:
    first, other = (Exchange(tmp_path / "meeting", rank, 2) for rank in range(2))
    other.beat()
    first.end("its disk is full")
    with pytest.raises(WorkerError, match="its disk is full"):
        other.beat()
    first.end()
    other.beat()
    other.hand_in(0, Share())
    assert not (tmp_path / "meeting").exists(), "a late share is dropped"
