"""What to run next: a pure decision over the ledger, without ray or torch.

Order: unfinished trials of an earlier run; the dense reference; designed points; the study's
decision flow; trials that Optuna chooses, the cells taking turns; then, when the search is over,
the best and the baselines with other seeds, where the sweep confirms; then the closing pass:
report-split scores of the candidates, and last, alone, their latency.
"""

import functools
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from search_spaces.factors import Cell
from sweeps.engine.search.fixed_points import (
    Point,
    confirmations,
    describe,
    fixed_points,
    most_confirmations,
)
from sweeps.engine.search.keys import trial_key
from sweeps.engine.search.rerun import failed_base
from sweeps.engine.search.sampler import Observation, propose
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import REFERENCE_ID, Ledger, Request
from trainables.models.families.shape import LanguageShape
from trainables.records import REPORT_SCORES
from trainables.specs import Origin, TrialSpec
from trainables.trial.jobs import Caches, LatencyJob, ReportJob, TrialJob

Job = TrialJob | ReportJob | LatencyJob
Wait = Literal["wait"]
WAIT: Wait = "wait"
CHOICES_PER_SAMPLE = 20  # proposals that resolve to known trials before a cell counts as exhausted


class Agenda:
    """Hands out jobs one by one; the runner says when each has ended.

    Args:
        sweep: what is asked.
        shape: sizes of the dense language model.
        ledger: what has been asked and what came out.
        candidates: ids of the trials worth scoring on the report split, asked when the search is
            over, best first.
        settle: what a new trial's `auto` settings stand for (see `caches.decide`).
    """

    def __init__(
        self,
        sweep: SweepSpec,
        shape: LanguageShape,
        ledger: Ledger,
        candidates: Callable[[], Sequence[str]],
        settle: Callable[[TrialSpec], Caches] = lambda spec: Caches(),
    ) -> None:
        self.sweep, self.shape, self.ledger = sweep, shape, ledger
        self._space, self._base = sweep.search_space, sweep.base_trial
        self._candidates, self._settle = candidates, settle
        self._running: dict[str, Job] = {}
        self.closing_failed: list[str] = []  # ids of jobs; they are not tried again
        self._points = iter(fixed_points(sweep))
        self._exhausted: set[int] = set()

    @functools.cached_property
    def base_key(self) -> str:
        """Key of the trial that scores the dense base."""
        points = fixed_points(self.sweep)
        spec = next(s for origin, *_, s in points if origin == "reference" and s.baseline is None)
        return trial_key(spec, self.shape)

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
        """
        if failed_base(self.ledger, self.base_key) is not None:
            return WAIT if self._running else None
        request = self._unfinished() or self._first_new(self._points) or self._next_sample()
        if request is not None:
            return self._start(request.trial_id, self._trial_job(request))
        trials = [job for job in self._running.values() if isinstance(job, TrialJob)]
        if any(job.origin != "confirm" for job in trials):
            return WAIT  # the best are not known yet
        if request := self._first_new(confirmations(self.sweep, self.ledger)):
            return self._start(request.trial_id, self._trial_job(request))
        return WAIT if trials else self._closing()

    def ended(self, job_id: str, failed: bool = False) -> None:
        """Take a job off the running list; a failed closing job is not tried again in this run."""
        job = self._running.pop(job_id)
        if failed and not isinstance(job, TrialJob):
            self.closing_failed.append(job_id)

    def _start(self, job_id: str, job: Job) -> tuple[str, Job]:
        self._running[job_id] = job
        return job_id, job

    def _unfinished(self) -> Request | None:
        for name, request in self.ledger.requests().items():
            if name not in self._running and self.ledger.record(name) is None:
                return request
        return None

    def _first_new(self, points: Iterable[Point]) -> Request | None:
        """Ask for the first of them that the ledger does not hold; the rest are not looked at."""
        return next((new for point in points if (new := self._request(*point))), None)

    def _next_sample(self) -> Request | None:
        cells = self.sweep.cells
        while left := [i for i in range(len(cells)) if i not in self._exhausted]:
            taken = [r.cell for r in self.ledger.requests().values() if r.origin == "sampler"]
            if len(taken) >= self.sweep.samples:
                return None
            turn = min(left, key=lambda i: sum(cell == cells[i] for cell in taken))
            if request := self._sample(cells[turn]):
                return request
            self._exhausted.add(turn)
        return None

    def _sample(self, cell: Cell) -> Request | None:
        """A new trial of the cell; None when everything it proposes is known already."""
        observations = list(self._observations(cell))
        first = len(self.ledger.requests())
        proposals = (
            propose(
                self._space,
                cell,
                self._base,
                observations,
                seed=self.sweep.seed,
                index=first + 100_000 * attempt,
                startup=self.sweep.startup_samples,
            )
            for attempt in range(CHOICES_PER_SAMPLE)
        )
        return self._first_new(("sampler", cell, *proposal) for proposal in proposals)

    def _observations(self, cell: Cell) -> Iterator[Observation]:
        for request in self.ledger.requests().values():
            if request.origin == "reference" or request.cell != cell:
                continue
            if request.spec.seeds != self._base.seeds:
                continue  # a replicate: same params, other seeds
            record = self.ledger.record(request.trial_id)
            if record is None:
                yield Observation(request.params, "running")
                continue
            retention = record.evaluation.retention if record.evaluation else None
            tflops = record.recovery.tflops if record.recovery else 0.0
            yield Observation(request.params, record.status, retention, tflops)

    def _request(
        self, origin: Origin, cell: Cell, params: Mapping[str, Any], spec: TrialSpec
    ) -> Request | None:
        """Write a new request; None when the ledger holds a trial with the same key."""
        key = trial_key(spec, self.shape)
        requests = self.ledger.requests()
        if any(request.key == key for request in requests.values()):
            return None
        index = len(requests)
        name = f"{index:03d}-{describe(spec)}"
        if origin == "reference":
            is_dense = spec.baseline is None
            name = f"{index:03d}-{REFERENCE_ID if is_dense else Path(spec.model.path).name}"
            if is_dense and REFERENCE_ID not in requests:  # another one has other settings
                name = REFERENCE_ID
        request = Request(
            trial_id=name,
            index=index,
            origin=origin,
            key=key,
            cell=dict(cell),
            params=dict(params),
            spec=spec,
            caches=self._settle(spec).model_copy(update={"recovery": self.sweep.shares_recoveries}),
        )
        self.ledger.add(request)
        return request

    @property
    def _copies(self) -> str | None:
        """Where the benchmarks' copies lie now, for workers that start in any folder.

        Not where they lay when a trial was asked for: moved copies make no other trial.
        """
        folder = self.sweep.trial.evaluation.data_folder
        return None if folder is None else str(Path(folder).resolve())

    def _trial_job(self, request: Request) -> TrialJob:
        return TrialJob(
            trial_id=request.trial_id,
            sweep=self.sweep.name,
            origin=request.origin,
            spec=request.spec.with_copies_in(self._copies),
            folder=self.ledger.trials / request.trial_id,
            store=self.ledger.store,
            attempt=uuid.uuid4().hex[:8],
            caches=request.caches,
        )

    def _closing(self) -> tuple[str, Job] | Wait | None:
        names = [name for name in self._candidates() if self.ledger.report(name) is None]
        folders = [self.ledger.trials / name for name in names]
        scored = [folder for folder in folders if (folder / REPORT_SCORES).exists()]
        store, attempt = self.ledger.store, uuid.uuid4().hex[:8]
        for folder in folders:
            job_id = f"report-{folder.name}"
            if folder in scored or job_id in self.closing_failed or job_id in self._running:
                continue
            job = ReportJob(
                trial_id=folder.name,
                folder=folder,
                store=store,
                attempt=attempt,
                gallery=self.sweep.gallery,
                data_folder=self._copies,
            )
            return self._start(job_id, job)
        if self._running:
            return WAIT
        if not scored or "latency" in self.closing_failed:
            return None
        latency = LatencyJob(folders=tuple(scored), store=store, attempt=attempt)
        return self._start("latency", latency)
