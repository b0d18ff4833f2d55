"""One evaluation by several workers: each answers a share of every task, the first one scores.

The workers meet in a folder, not in a process group: a collective that one worker does not reach
hangs the others until the group's time-out of hours. The first worker posts a request per task; the
others hand in their shares as files. Whoever waits, waits for a bounded time, and an error of one
worker ends the others. Of N questions, worker r of n answers those from floor(r N / n) on, so that
questions about one image mostly stay together.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainables.common.files import read_json, write_json
from trainables.evaluation.answering.generation import Answer, Answerer, Question
from trainables.evaluation.answering.stopping import NaNLogitsError
from trainables.evaluation.request import EvaluationRequest
from trainables.specs import Frozen, digest

PATIENCE_SECONDS = 900.0  # without a sign of a worker that is to hand in its share
IDLE_SECONDS = 6 * 3600.0  # without a request: it may wait for another trial's scores
LONGEST_NAP_SECONDS = 0.5
END = "end.json"

Whose = Literal["student", "untrained", "dense"]


class WorkerError(RuntimeError):
    """Another worker failed, or gave no sign for too long."""


class ShardRequest(Frozen):
    """One task of an evaluation, the model to ask, and the questions' digest."""

    task: str
    evaluation: EvaluationRequest
    model: Whose
    questions: str


class Share(Frozen):
    """What a worker hands in: texts and whether they were cut off, or why it has none.

    `fault` says what is to blame: the task, or the model, whose logits are NaN or which does not
    fit into memory.
    """

    answers: tuple[tuple[str, bool], ...] = ()
    error: str | None = None
    fault: Literal["task", "nan", "memory"] = "task"


class Exchange:
    """The folder where the `world` workers of one trial meet, as worker `rank` sees it."""

    def __init__(
        self,
        folder: Path,
        rank: int,
        world: int,
        patience_seconds: float = PATIENCE_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """Meet in `folder`, which is this meeting's alone."""
        self.folder, self.rank, self.world = folder, rank, world
        self._patience, self._idle = patience_seconds, idle_seconds
        self._posted = 0
        folder.mkdir(parents=True, exist_ok=True)

    def mine(self, questions: Sequence[Question]) -> Sequence[Question]:
        """The questions that this worker answers."""
        count = len(questions)
        start, stop = (count * rank // self.world for rank in (self.rank, self.rank + 1))
        return questions[start:stop]

    def post(self, request: ShardRequest) -> int:
        """Tell the other workers what to answer; hands back the request's number."""
        number = self._posted
        self._posted += 1
        write_json(self._request_path(number), request)
        return number

    def requests(self) -> Iterator[tuple[int, ShardRequest]]:
        """What the first worker posts, by number, until it ends.

        Raises:
            WorkerError: the first worker failed, or posts nothing for `idle_seconds`.
        """
        number = 0
        while self._wait(self._request_path(number), self._idle, 0, "worker 0 asks for nothing"):
            yield number, read_json(self._request_path(number), ShardRequest)
            number += 1

    def hand_in(self, number: int, share: Share) -> None:
        """Leave this worker's share of a request, unless the first worker has ended."""
        if self.folder.is_dir():
            write_json(self._share(number, self.rank), share)

    def collect(self, number: int, task: str) -> list[Share]:
        """The shares of all other workers.

        Raises:
            WorkerError: a worker gives no sign for `patience_seconds`.
        """
        shares = []
        for rank in range(1, self.world):
            path, said = self._share(number, rank), f"worker {rank} does not answer task {task!r}"
            self._wait(path, self._patience, rank, said)
            shares.append(read_json(path, Share))
        return shares

    def beat(self) -> None:
        """Show that this worker goes on.

        Raises:
            WorkerError: the first worker failed in the meantime.
        """
        if self.folder.is_dir():
            self._refuse_failed()
            with open(self.folder / f"beat-{self.rank}", "a", encoding="utf-8") as file:
                file.write(".")

    def end(self, error: str | None = None) -> None:
        """Let the other workers go: quietly, or with an error."""
        if error is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            write_json(self.folder / END, Share(error=error))

    def _request_path(self, number: int) -> Path:
        return self.folder / f"request-{number}.json"

    def _share(self, number: int, rank: int) -> Path:
        return self.folder / f"share-{number}-{rank}.json"

    def _wait(self, path: Path, patience: float, other: int, said: str) -> bool:
        """Whether `path` appeared; False once the first worker has ended quietly."""
        since, signs, nap = time.monotonic(), -1, 0.01
        while not path.exists():
            if not self.folder.is_dir():
                return False
            self._refuse_failed()
            beat = self.folder / f"beat-{other}"
            seen = beat.stat().st_size if beat.exists() else 0
            if seen != signs:
                since, signs = time.monotonic(), seen
            if time.monotonic() - since > patience:
                raise WorkerError(
                    f"{said}, and has given no sign for {patience:.0f} s; the trial's log may say "
                    "why. Run the sweep again: it takes the trial up where it stands"
                )
            time.sleep(nap)
            nap = min(LONGEST_NAP_SECONDS, 1.5 * nap)
        return True

    def _refuse_failed(self) -> None:
        end = self.folder / END
        if end.exists():
            raise WorkerError(f"worker 0 gave up: {read_json(end, Share).error}")


_FAULTS = {"task": ValueError, "nan": NaNLogitsError, "memory": WorkerError}


@dataclass(frozen=True)
class Crew:
    """The trial's workers as the first one sees them; each holds a copy of the model they ask."""

    exchange: Exchange
    model: Whose

    @classmethod
    def of(cls, exchange: Exchange | None, model: Whose) -> Crew | None:
        """The crew behind an exchange; None where there is none."""
        return None if exchange is None else cls(exchange, model)

    def together(
        self, answerer: Answerer, task: str, request: EvaluationRequest
    ) -> Callable[[Sequence[Question]], list[Answer]]:
        """A function that answers questions together with the other workers."""

        def answer(questions: Sequence[Question]) -> list[Answer]:
            asked = questions_digest(questions)
            number = self.exchange.post(
                ShardRequest(task=task, evaluation=request, model=self.model, questions=asked)
            )
            answers = answerer(self.exchange.mine(questions), self.exchange.beat)
            for rank, share in enumerate(self.exchange.collect(number, task), start=1):
                if share.error is not None:
                    raise _FAULTS[share.fault](f"{share.error} (worker {rank})")
                answers += [Answer(text, unfinished) for text, unfinished in share.answers]
            return answers

        return answer


def questions_digest(questions: Sequence[Question]) -> str:
    """Digest of the questions' texts: workers must not answer different ones."""
    return digest([question.text for question in questions])
