"""What a trial's process and two workers hear of each other, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from trainables.trial.desk import Desk, Ended, Failure, Posted, Question

JOB = {"kind": "trial"}
RESULT = {"status": "completed"}


async def _waits(task: asyncio.Task[Any]) -> bool:
    """Whether it still does, once everything else has had its turn."""
    for _ in range(20):
        await asyncio.sleep(0)
    return not task.done()


def _start(waiting: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(waiting)


def test_two_jobs_one_after_the_other() -> None:
    async def course() -> None:
        desk = Desk(workers=2)
        taken = [_start(desk.take(0)) for _ in range(2)]
        assert await _waits(taken[0])
        for number in (1, 2):
            await desk.post(JOB, judged=False)
            assert [await t for t in taken] == [Posted(number, JOB, judged=False)] * 2
            word, other = _start(desk.next_word()), _start(desk.end(1, None))
            assert await _waits(other), "the first worker still evaluates"
            await desk.end(0, RESULT)
            await other
            assert await word == Ended(RESULT, None)
            taken = [_start(desk.take(number)) for _ in range(2)]
            assert await _waits(taken[0]), "it would do the job twice"
        await desk.close()
        assert [await t for t in taken] == [None, None]
        assert not await desk.is_open()

    asyncio.run(course())


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_rung_is_answered(goes_on: bool) -> None:
    async def course() -> None:
        desk = Desk(workers=1)
        await desk.post(JOB, judged=True)
        asked = _start(desk.ask({"rung": 0}))
        question = await desk.next_word()
        assert question == Question({"rung": 0})
        await desk.answer(goes_on)
        assert await asked is goes_on

    asyncio.run(course())


def test_the_failure_that_was_said_first_counts_and_a_result_more() -> None:
    async def course() -> None:
        desk = Desk(workers=2)
        for result in (None, RESULT):
            await desk.post(JOB, judged=False)
            await desk.fail(Failure("no data"))
            await desk.fail(Failure("connection closed by peer"))
            await asyncio.gather(desk.end(1, None), desk.end(0, result))
            failure = None if result else Failure("no data")
            assert await desk.next_word() == Ended(result, failure)

    asyncio.run(course())
