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
        await desk.arrive("s")
        taken = [_start(desk.take(0)) for _ in range(2)]
        assert await _waits(taken[0])
        for number in (1, 2):
            await desk.post(JOB, judged=False)
            assert [await t for t in taken] == [Posted(number, JOB, judged=False)] * 2
            word, other = _start(desk.next_word()), _start(desk.end("s", 1, None))
            assert await _waits(other), "the first worker still evaluates"
            await desk.end("s", 0, RESULT)
            await other
            assert await word == Ended(RESULT, None)
            taken = [_start(desk.take(number)) for _ in range(2)]
            assert await _waits(taken[0]), "it would do the job twice"
        await desk.close()
        assert [await t for t in taken] == [None, None]
        assert not await desk.is_whole()

    asyncio.run(course())


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_rung_is_answered(goes_on: bool) -> None:
    async def course() -> None:
        desk = Desk(workers=1)
        await desk.arrive("s")
        await desk.post(JOB, judged=True)
        asked = _start(desk.ask("s", {"rung": 0}))
        question = await desk.next_word()
        assert question == Question(1, {"rung": 0})
        await desk.answer(question.number, goes_on)
        assert await asked is goes_on

    asyncio.run(course())


def test_the_failure_that_was_said_first_counts_and_a_result_more() -> None:
    async def course() -> None:
        desk = Desk(workers=2)
        await desk.arrive("s")
        for result in (None, RESULT):
            await desk.post(JOB, judged=False)
            await desk.fail("s", Failure("no data"))
            await desk.fail("s", Failure("connection closed by peer"))
            await asyncio.gather(desk.end("s", 1, None), desk.end("s", 0, result))
            failure = None if result else Failure("no data")
            assert await desk.next_word() == Ended(result, failure)

    asyncio.run(course())


def test_a_group_that_is_started_again_takes_the_job_again() -> None:
    """What was said before the start counts no more, nor does an answer to a question of then."""

    async def course() -> None:
        desk = Desk(workers=2)
        await desk.arrive("one")
        assert await desk.is_whole()
        await desk.post(JOB, judged=True)
        await desk.fail("one", Failure("connection closed by peer"))
        _old = [_start(desk.end("one", 0, None)), _start(desk.ask("one", {"rung": 0}))]
        before = await desk.next_word()
        await desk.arrive("two")
        assert not await desk.is_whole()
        assert await desk.take(0) == Posted(1, JOB, judged=True)
        asked = _start(desk.ask("two", {"rung": 0}))
        after = await desk.next_word()
        assert isinstance(before, Question)
        assert isinstance(after, Question)
        await desk.answer(before.number, goes_on=False)
        assert await _waits(asked)
        await desk.answer(after.number, goes_on=True)
        assert await asked
        with pytest.raises(RuntimeError, match="start one of this group is over"):
            await desk.end("one", 1, None)
        await asyncio.gather(desk.end("two", 1, None), desk.end("two", 0, RESULT))
        assert await desk.next_word() == Ended(RESULT, None)

    asyncio.run(course())


def test_a_job_that_is_over_is_not_taken_by_a_later_start() -> None:
    async def course() -> None:
        desk = Desk(workers=1)
        await desk.arrive("one")
        await desk.post(JOB, judged=False)
        await desk.end("one", 0, RESULT)
        await desk.arrive("two")
        taken = _start(desk.take(0))
        assert await _waits(taken)
        taken.cancel()

    asyncio.run(course())
