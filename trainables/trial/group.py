"""A worker group that stays: one run of Ray Train whose workers do one trial after another.

Starting a group takes some ten seconds (processes, imports, the dense model); a group that is there
begins the next trial at once. It lives in the trial's process, which Tune keeps from trial to trial
and ends when it needs the room for something else; whatever the group consists of ends with it.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainables.common.process_group import TIMEOUT
from trainables.trial.desk import Desk, Ended, Failure
from trainables.trial.errors import GroupError
from trainables.trial.serving import Do, serve

IDLE_SECONDS = 600.0  # then others may have what a group holds
LOOK_SECONDS = 0.5  # whether the group is still there, while nothing is heard of it

Report = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Needs:
    """What a group is started with.

    Attributes:
        workers: how many.
        each: what Ray is to give each of them, by resource.
    """

    workers: int
    each: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, workers: int, each: Mapping[str, float]) -> Needs:
        """So many workers with these resources each."""
        return cls(workers, tuple(sorted(each.items())))


class Group:
    """A group of workers, from its start on."""

    def __init__(self, needs: Needs, do: Do) -> None:
        """Start a group whose workers `do` jobs; returns before they are there."""
        import ray

        self.needs = needs
        self._desk = ray.remote(num_cpus=0)(Desk).remote(needs.workers)
        self._error: BaseException | None = None
        self._clock: threading.Timer | None = None
        self._train = threading.Thread(target=self._run, args=(do,), name="group", daemon=True)
        self._train.start()

    def takes_jobs(self) -> bool:
        """Whether all its workers are there."""
        import ray

        try:
            return self._train.is_alive() and bool(ray.get(self._desk.is_open.remote()))
        except ray.exceptions.RayError:  # the desk is gone, and the workers with it
            return False

    def do(self, job: dict[str, Any], report: Report | None) -> dict[str, Any]:
        """Have the workers do a job; hands back what came of it on the first one.

        Args:
            job: plain data.
            report: called with what the first worker reports at rungs; it may raise `SystemExit`
                to stop the trial.

        Raises:
            GroupError: it failed.
            SystemExit: it was stopped; or whatever else the report raised.
            Exception: the group is gone, since a worker died; what Train says of it.
        """
        import ray

        ray.get(self._desk.post.remote(job, report is not None))
        raised: BaseException | None = None
        while not isinstance(word := self._next_word(), Ended):
            try:
                assert report is not None
                report(word.metrics)
            except BaseException as error:  # the workers must hear of it first
                raised = error
            ray.get(self._desk.answer.remote(raised is None))
        self._clock = threading.Timer(IDLE_SECONDS, self.end)
        self._clock.daemon = True
        self._clock.start()
        if raised is not None:
            raise raised
        if word.result is None:
            raise GroupError(word.failure or Failure("the workers stopped by themselves"))
        return word.result

    def stay(self) -> None:
        """Have it not end by itself before the next job."""
        if self._clock is not None:
            self._clock.cancel()

    def end(self) -> None:
        """Let the workers go; returns at once."""
        self._desk.close.remote()

    def _next_word(self) -> Any:
        import ray

        asked = self._desk.next_word.remote()
        while not ray.wait([asked], timeout=LOOK_SECONDS)[0]:
            if not self._train.is_alive():
                raise self._error or RuntimeError("the workers ended before the job did")
        return ray.get(asked)

    def _run(self, do: Do) -> None:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        desk, each = self._desk, dict(self.needs.each)
        try:
            with tempfile.TemporaryDirectory() as folder:  # Train wants one; nothing is kept there
                TorchTrainer(
                    lambda: serve(desk, do),
                    scaling_config=ScalingConfig(
                        num_workers=self.needs.workers,
                        use_gpu=each.get("GPU", 0) > 0,
                        resources_per_worker=each,
                    ),
                    run_config=RunConfig(name="group", storage_path=folder),
                    torch_config=TorchConfig(timeout_s=round(TIMEOUT.total_seconds())),
                ).fit()
        except BaseException as error:  # of a thread, which nobody would see
            self._error = error


_kept: Group | None = None


def do_in_group(needs: Needs, do: Do, job: dict[str, Any], report: Report | None) -> dict[str, Any]:
    """Have this process's group do a job; where its workers are lost, a new one does it, once.

    Train could start the workers again by itself. But while Ray ends the process that has the
    group, Train takes what Ray does to the workers for their death, and what it starts in their
    place holds its devices for ever.

    Raises:
        Exception: as `Group.do`.
    """
    group = _group_for(needs, do)
    try:
        return group.do(job, report)
    except GroupError:
        raise
    except Exception:
        if group.takes_jobs():  # it was the report's
            raise
    return _group_for(needs, do).do(job, report)


def _group_for(needs: Needs, do: Do) -> Group:
    """This process's group if it fits, else a new one."""
    global _kept
    if _kept is not None:
        _kept.stay()
    if _kept is None or _kept.needs != needs or not _kept.takes_jobs():
        end_group()
        _kept = Group(needs, do)
    return _kept


def end_group() -> None:
    """End this process's group, if there is one."""
    global _kept
    if _kept is not None:
        _kept.end()
    _kept = None
