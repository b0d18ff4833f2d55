"""What to run next: a pure decision over the ledger, without ray or torch.

Order: unfinished trials of an earlier run; the dense reference; designed points; the study's
decision flow; trials that the sampler chooses, the cells taking turns; then, when the search is
over, the best and the baselines with other seeds, where the sweep confirms; then the closing pass:
report-split scores of the candidates, and last, alone, their latency.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from search_spaces.factors import Cell
from sweeps.engine.search.budget import Purse, plateau
from sweeps.engine.search.choosing import Search
from sweeps.engine.search.closing_pass import closing_job, count_closing_jobs
from sweeps.engine.search.fixed_points import (
    Point,
    confirmations,
    describe,
    fixed_points,
    most_confirmations,
)
from sweeps.engine.search.keys import trial_key
from sweeps.engine.search.rerun import failed_base
from sweeps.engine.search.samplers import SamplerError
from sweeps.engine.search.sources import load_sources
from sweeps.engine.search.standing import Standing
from sweeps.engine.search.word import Word
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import REFERENCE_ID, Drawn, Ledger, Request
from sweeps.engine.spec.own_space import SpaceError
from trainables.models.families.shape import LanguageShape
from trainables.specs import Origin, TrialSpec
from trainables.trial.jobs import Caches, LatencyJob, ReportJob, TrialJob

Job = TrialJob | ReportJob | LatencyJob
Wait = Literal["wait"]
WAIT: Wait = "wait"


class _NoRoomError(Exception):
    """The budget has no room for a trial; says why."""


class Agenda:
    """Hands out jobs one by one; the runner says when each has ended.

    Args:
        sweep: what is asked.
        shape: sizes of the dense language model.
        ledger: what has been asked and what came out.
        candidates: ids of the trials worth scoring on the report split, asked when the search is
            over, best first.
        settle: what a new trial's `auto` settings stand for (see `caches.decide`).
        purse: what is left of the sweep's budget; None limits by counts alone.
    """

    def __init__(
        self,
        sweep: SweepSpec,
        shape: LanguageShape,
        ledger: Ledger,
        candidates: Callable[[], Sequence[str]],
        settle: Callable[[TrialSpec], Caches] = lambda spec: Caches(),
        purse: Purse | None = None,
    ) -> None:
        self.sweep, self.shape, self.ledger = sweep, shape, ledger
        self._candidates, self._settle = candidates, settle
        self._running: dict[str, Job] = {}
        self.closing_failed: list[str] = []  # ids of jobs; they are not tried again
        self.closing_jobs = 0  # how many the closing pass has, once it has begun
        self.sampler_error: str | None = None  # it ends the sweep
        self.storage_error: OSError | None = None  # of a ledger that cannot be written; so does it
        self._points = iter(fixed_points(sweep))
        self._base_done = False
        self.purse = purse or Purse(sweep.budget, ledger)
        self._word = Word(ledger)

    @functools.cached_property
    def base_key(self) -> str:
        """Key of the trial that scores the dense base."""
        points = fixed_points(self.sweep)
        spec = next(s for origin, *_, s in points if origin == "reference" and s.baseline is None)
        return trial_key(spec, self.shape)

    @functools.cached_property
    def _standing(self) -> Standing:
        return Standing(self.ledger, self.sweep)  # when the first job is asked for, not before

    @functools.cached_property
    def _search(self) -> Search:
        sources = load_sources(self.sweep, self.ledger.storage)
        return Search(self.sweep, self.shape, self._standing, sources)

    def total(self) -> int:
        """Trials of the sweep as far as they can be foreseen, closing pass not counted."""
        keys = {trial_key(spec, self.shape) for *_, spec in fixed_points(self.sweep)}
        known = self.ledger.requests().values()
        keys |= {r.key for r in known if r.origin not in ("sampler", "confirm")}
        origins = Counter(r.origin for r in known)
        sampled = max(origins["sampler"], self.sweep.samples)
        return len(keys) + sampled + max(origins["confirm"], most_confirmations(self.sweep))

    def next(self) -> tuple[str, Job] | Wait | None:
        """(job id, job), `WAIT` while running jobs must end first, or None when all is done.

        Once the dense base has failed nothing more is started: no trial could be compared with it.
        Neither is anything once the sampler has: the search is not over.
        """
        if self._base_failed() or self.storage_error is not None:
            return WAIT if self._running else None
        try:
            return self._next()
        except OSError as error:
            self.storage_error = error
            return WAIT if self._running else None
        except _NoRoomError as refused:  # maybe for a while, as what runs may cost less
            self._points = iter(fixed_points(self.sweep))  # the one that was refused is gone
            if self.running_trials():
                return WAIT
            self._word.over_budget(str(refused))
            return self._closing()

    def _next(self) -> tuple[str, Job] | Wait | None:
        request = self._unfinished() or self._first_new(self._points) or self._next_sample()
        if self.sampler_error is not None:
            return WAIT if self._running else None
        if request is not None:
            return self._start(request.trial_id, self._trial_job(request))
        trials = self.running_trials()
        if any(job.origin != "confirm" for job in trials):
            return WAIT  # the best are not known yet
        if request := self._first_new(confirmations(self.sweep, self.ledger)):
            return self._start(request.trial_id, self._trial_job(request))
        return WAIT if trials else self._closing()

    def ended(self, job_id: str, failed: bool = False) -> None:
        """Take a job off the running list; a failed closing job is not tried again in this run."""
        job = self._running.pop(job_id)
        if isinstance(job, TrialJob):
            self.purse.ended(job_id)
            self._standing.ended(job_id)
            if self.ledger.record(job_id) is None:
                self._standing.unfinished[job_id] = self.ledger.seen()[job_id]
        elif failed:
            self.closing_failed.append(job_id)

    def _start(self, job_id: str, job: Job) -> tuple[str, Job]:
        self._running[job_id] = job
        if isinstance(job, TrialJob):
            self.purse.started(job_id, job.spec)
        return job_id, job

    def running_trials(self) -> list[TrialJob]:
        """The trials that were handed out and have not ended."""
        return [job for job in self._running.values() if isinstance(job, TrialJob)]

    def _make_room(self, spec: TrialSpec) -> None:
        if why := self.purse.refusal(spec):
            raise _NoRoomError(why)

    def _base_failed(self) -> bool:
        """Whether every run of the dense base has; the ledger is not read once one has not."""
        if self._base_done:
            return False
        runs = [n for n, r in self.ledger.requests().items() if r.first_key == self.base_key]
        records = [self.ledger.record(name) for name in runs]
        self._base_done = any(r is not None and r.status != "failed" for r in records)
        return failed_base(self.ledger, self.base_key) is not None

    def _unfinished(self) -> Request | None:
        unfinished = self._standing.unfinished
        if not unfinished:
            return None
        first = next(iter(unfinished))
        self._make_room(unfinished[first].spec)
        return unfinished.pop(first)

    def _first_new(self, points: Iterable[Point]) -> Request | None:
        """Ask for the first of them that the ledger does not hold; the rest are not looked at."""
        return next((new for point in points if (new := self._request(*point))), None)

    def _next_sample(self) -> Request | None:
        if self.sampler_error is not None:
            return None
        if why := self._plateau():
            if not self.running_trials():
                self._word.over_budget(why)
            return None
        try:
            found = self._search.next()
        except (SamplerError, SpaceError) as error:
            self.sampler_error = str(error)
            return None
        self._word.used_up(self._search.used_up())
        if found is None:
            return None
        cell, proposal = found
        return self._request("sampler", cell, proposal.params, proposal.spec, proposal.drawn)

    def _plateau(self) -> str | None:
        budget = self.sweep.budget
        if budget is None or self._standing.sampled.total() >= self.sweep.samples:
            return None
        objectives = self.sweep.goals.objectives
        return plateau(budget.plateau, self._standing.observations(), objectives)

    def _request(
        self,
        origin: Origin,
        cell: Cell,
        params: Mapping[str, Any],
        spec: TrialSpec,
        drawn: Drawn | None = None,
    ) -> Request | None:
        """Write a new request; None when the ledger holds a trial with the same key."""
        key = trial_key(spec, self.shape)
        if key in self._standing.keys:
            return None
        self._make_room(spec)
        request = Request(
            trial_id=self._name_of(origin, spec),
            index=self._standing.index,
            origin=origin,
            key=key,
            cell=dict(cell),
            params=dict(params),
            spec=spec,
            base=self.ledger.bases.current,
            drawn=drawn,
            caches=self._settle(spec).model_copy(update={"recovery": self.sweep.shares_recoveries}),
        )
        self.ledger.add(request)
        self._standing.add(request)
        return request

    def _name_of(self, origin: Origin, spec: TrialSpec) -> str:
        name = describe(spec)
        if origin == "reference":
            is_dense = spec.baseline is None
            if is_dense and REFERENCE_ID not in self.ledger.seen():
                return REFERENCE_ID  # another one has other settings
            name = REFERENCE_ID if is_dense else Path(spec.model.path).name
        return f"{self._standing.index:03d}-{name}"

    def _trial_job(self, request: Request) -> TrialJob:
        return TrialJob(
            trial_id=request.trial_id,
            sweep=self.sweep.name,
            origin=request.origin,
            spec=request.spec.with_copies_in(self.sweep.data_folder),
            factors=request.own_factors,
            folder=self.ledger.trials / request.trial_id,
            store=self.ledger.store,
            caches=request.caches,
        )

    def _closing(self) -> tuple[str, Job] | Wait | None:
        candidates = self._candidates()
        self.closing_jobs = self.closing_jobs or count_closing_jobs(self.ledger, candidates)
        item = closing_job(
            self.ledger,
            candidates,
            taken={*self.closing_failed, *self._running},
            gallery=self.sweep.gallery,
            data_folder=self.sweep.data_folder,
        )
        if isinstance(item, tuple) and not (self._running and item[0] == "latency"):
            return self._start(*item)
        return WAIT if self._running else None
