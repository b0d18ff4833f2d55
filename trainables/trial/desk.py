"""Where a trial's process and its workers leave word for each other: an actor that all can call.

The trial's process posts jobs, the workers take them, the first one asks at rungs whether it goes
on, and all say when they have ended a job. Whoever waits, waits in a call, so that nobody looks
again and again; and since nobody waits in a collective, no time-out of a process group matters.

A group whose worker dies is over, and its desk with it (see `group.do_in_group`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Failure:
    """Why a job failed: in one line, and whether its training diverged or the storage failed."""

    message: str
    diverged: bool = False
    storage: bool = False


@dataclass(frozen=True)
class Posted:
    """A job as plain data, its number, and whether somebody judges it at its rungs."""

    number: int
    job: dict[str, Any]
    judged: bool


@dataclass(frozen=True)
class Question:
    """What the first worker reports at a rung; it waits for an answer."""

    metrics: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """All workers have ended a job: what came of it, or the failure that came first.

    Both are None where the trial was stopped at a rung.
    """

    result: dict[str, Any] | None
    failure: Failure | None


class Desk:
    """The desk of one group; a process may wait in most of its methods."""

    def __init__(self, workers: int) -> None:
        """Serve a group of so many workers."""
        self._workers = workers
        self._changed = asyncio.Condition()
        self._posted: Posted | None = None
        self._closed = False
        self._told: asyncio.Queue[Question | Ended] = asyncio.Queue()
        self._ranks: set[int] = set()
        self._result: dict[str, Any] | None = None
        self._failure: Failure | None = None
        self._answer: asyncio.Future[bool] | None = None

    # The trial's process

    async def post(self, job: dict[str, Any], judged: bool) -> None:
        """Give the workers a job; the one before is over."""
        async with self._changed:
            number = self._posted.number + 1 if self._posted else 1
            self._posted = Posted(number, job, judged)
            self._ranks, self._result, self._failure = set(), None, None
            self._changed.notify_all()

    async def next_word(self) -> Question | Ended:
        """What the trial's process is to hear next."""
        return await self._told.get()

    async def answer(self, goes_on: bool) -> None:
        """Answer the question of the first worker."""
        assert self._answer is not None
        self._answer.set_result(goes_on)

    async def close(self) -> None:
        """There will be no more jobs."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def is_open(self) -> bool:
        """Whether there may be more jobs."""
        return not self._closed

    # The workers

    async def take(self, after: int) -> Posted | None:
        """The job to do after that number, once there is one; None at the end."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._closed or (self._posted and self._posted.number > after)
            )
            return None if self._closed else self._posted

    async def ask(self, metrics: dict[str, Any]) -> bool:
        """Whether the trial goes on after a rung with these metrics."""
        self._answer = asyncio.get_running_loop().create_future()
        self._told.put_nowait(Question(metrics))
        return await self._answer

    async def fail(self, failure: Failure) -> None:
        """A worker failed; the failure that is said first is what the job failed of."""
        self._failure = self._failure or failure

    async def end(self, rank: int, result: dict[str, Any] | None) -> None:
        """A worker has ended the job; returns once all have."""
        async with self._changed:
            job = self._posted
            self._ranks.add(rank)
            self._result = self._result or result
            if len(self._ranks) == self._workers:
                failure = None if self._result else self._failure
                self._told.put_nowait(Ended(self._result, failure))
                self._changed.notify_all()
            await self._changed.wait_for(
                lambda: self._posted is not job or len(self._ranks) == self._workers
            )
