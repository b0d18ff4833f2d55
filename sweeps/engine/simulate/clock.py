"""A sweep under a simulated clock: its own agenda, sampler and halving, and an objective."""

import heapq
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search_spaces.factors import Cell
from sweeps.engine import __version__
from sweeps.engine.plan.preflight import check_sweep
from sweeps.engine.search.agenda import WAIT, Agenda
from sweeps.engine.search.halving import Halving
from sweeps.engine.search.keys import trial_key
from sweeps.engine.search.rungs import goes_on
from sweeps.engine.simulate.features import row_of
from sweeps.engine.simulate.objective import Curves, Objective
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request
from sweeps.engine.spec.unpruned_parts import target_of
from trainables.common.files import read_json, write_json
from trainables.models.families.shape import LanguageShape
from trainables.records import (
    RECORD,
    REQUEST,
    RUNG,
    CostReport,
    EfficiencyReport,
    EvaluationReport,
    Provenance,
    PruningReport,
    RecoveryReport,
    RungResult,
    TaskScore,
    TrialRecord,
)
from trainables.specs import DTYPE_BYTES, Origin
from trainables.trial.jobs import TrialJob
from trainables.trial.launch import summary

DENSE_AVERAGE = 90.0  # of the simulated dense base; retention is what counts
TASK = "simulated"


@dataclass(frozen=True)
class Ended:
    """A simulated trial that has ended.

    Attributes:
        cell: the strata's levels that it has; None for a reference.
        fraction: how far it came; 1 unless it was stopped.
        retention: as scored, with noise; None for the dense base.
        truth: the same without noise, what it would have had at its end.
        final_tflops: what its recovery would have cost at its end.
        device_seconds: what it took.
        wall_seconds: when it ended.
        driver_seconds: what the agenda and the halving had really taken by then.
    """

    trial_id: str
    origin: Origin
    cell: Cell | None
    row: tuple[float, ...]
    fraction: float
    retention: float | None
    truth: float
    final_tflops: float
    device_seconds: float
    wall_seconds: float
    driver_seconds: float


def simulate(sweep: SweepSpec, objective: Objective, storage: Path, slots: int) -> Iterator[Ended]:
    """The trials of a sweep in the order in which they end; its ledger is written as they do.

    There is no closing pass. Trials do not fail.

    Args:
        sweep: the sweep; its seed is that of the noise, too.
        objective: what trials come to.
        storage: where the ledger goes.
        slots: trials at a time.

    Raises:
        BadInputError: the sweep cannot run.
        ValueError: the objective knows nothing of its settings, or the ledger holds trials.
    """
    shape = check_sweep(sweep, to_run=False)
    objective.check(sweep)
    ledger = Ledger(storage, sweep.name)
    if ledger.requests():
        raise ValueError(
            f"{ledger.folder} holds {len(ledger.requests())} trials already, and simulated ones do "
            "not belong among them; give another --storage"
        )
    ledger.open(sweep)
    agenda = Agenda(sweep, shape, ledger, lambda: ())
    halving = Halving(sweep.rungs, ledger) if sweep.rungs and sweep.rungs.stop else None
    order = itertools.count()
    events: list[tuple[float, int, int, _Running]] = []
    now, driver, open_ = 0.0, _Stopwatch(), True
    while True:
        while open_ and len(events) < slots:
            with driver:
                item = agenda.next()
            if item == WAIT:
                break
            if item is None:
                open_ = False
                break
            _, job = item
            assert isinstance(job, TrialJob)
            trial = _Running(job, sweep, objective, shape, now)
            heapq.heappush(events, (trial.when(0), next(order), 0, trial))
        if not events:
            return
        now, _, stage, trial = heapq.heappop(events)
        folder = trial.job.folder
        last = stage == len(trial.fractions) - 1
        if not last:
            reached = trial.record(stage)
            write_json(folder / RUNG, reached)
            result = {"kind": "rung", "rung": stage, **summary(reached)}
            with driver:
                on = halving is None or goes_on(halving, trial.job, result)
            if on:
                heapq.heappush(events, (trial.when(stage + 1), next(order), stage + 1, trial))
                continue
        else:
            write_json(folder / RECORD, trial.record(stage))
        with driver:
            agenda.ended(trial.job.trial_id)
        yield trial.ended(stage, now, driver.seconds)


class _Stopwatch:
    """Adds up the seconds spent within it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._begin


class _Running:
    """A trial between its start and its end; its whole course is known from the start."""

    def __init__(
        self,
        job: TrialJob,
        sweep: SweepSpec,
        objective: Objective,
        shape: LanguageShape,
        start: float,
    ) -> None:
        self.job, self._shape, self._start = job, shape, start
        rungs = job.spec.rungs if job.spec.recovery.scope != "none" else ()
        self.fractions = (*rungs, 1.0)
        self.row = row_of(job.spec, sweep.base_trial)
        self._objective = objective
        self._cell = read_json(job.folder / REQUEST, Request).cell
        key = int(trial_key(job.spec, shape), 16)
        rng = np.random.default_rng((sweep.seed, key))
        exact = objective.curves(np.array([self.row]))
        noise = np.zeros((1, 3)) if self._dense else objective.noise(self.row, rng)[None, :]
        noisy = Curves(exact.retention + noise, exact.tflops, exact.seconds)
        self._exact, self._seen = exact.at((1.0,)), noisy.at(self.fractions)

    @property
    def _dense(self) -> bool:
        return self.job.origin == "reference"

    def when(self, stage: int) -> float:
        """The second at which the trial reaches a rung, or its end."""
        return self._start + float(self._seen.seconds[0, stage]) / self.job.spec.workers

    def ended(self, stage: int, now: float, driver_seconds: float) -> Ended:
        """What is kept of it."""
        return Ended(
            trial_id=self.job.trial_id,
            origin=self.job.origin,
            cell=None if self._dense else self._cell,
            row=self.row,
            fraction=self.fractions[stage],
            retention=None if self._dense else float(self._seen.retention[0, stage]),
            truth=float(self._exact.retention[0, 0]),
            final_tflops=float(self._exact.tflops[0, 0]),
            device_seconds=float(self._seen.seconds[0, stage]),
            wall_seconds=now,
            driver_seconds=driver_seconds,
        )

    def record(self, stage: int) -> TrialRecord:
        """The record as the trial would write it there."""
        spec, seen = self.job.spec, self._seen
        target = target_of(spec, self._shape)
        tflops, seconds = float(seen.tflops[0, stage]), float(seen.seconds[0, stage])
        weights = target.lm_params * DTYPE_BYTES[spec.model.dtype] / 2**20
        loss = spec.recovery.loss
        trained = spec.recovery.scope != "none"
        return self.job.record(
            None,
            Provenance(prunesweep=__version__, host="simulated"),
            pruning=PruningReport(
                method=spec.pruning.method,
                target_ratio=spec.pruning.ratio,
                ratio=target.ratio,
                plan_digest="simulated",
                layers=target.layers,
                kv_groups=tuple(groups for groups, _ in target.widths),
                neurons=tuple(neurons for _, neurons in target.widths),
                lm_params_dense=self._shape.lm_params(),
                lm_params=target.lm_params,
                size=spec.pruning.size,
            ),
            recovery=RecoveryReport(
                scope=spec.recovery.scope,
                tflops=tflops,
                loss_terms=loss.terms if trained else "",
                weights=(loss.alpha, loss.beta, loss.gamma) if trained else (0.0, 0.0, 0.0),
            ),
            evaluation=self._evaluation(float(seen.retention[0, stage])),
            efficiency=EfficiencyReport(
                params=target.lm_params,
                lm_params=target.lm_params,
                weights_mib=self._objective.weights_mib(self.row, weights),
                tflops=2e-12 * target.lm_params * spec.efficiency.prompt_tokens,
            ),
            cost=CostReport(
                device="simulated",
                devices=spec.workers,
                device_seconds={"simulated": seconds},
                wall_seconds=seconds / spec.workers,
            ),
            rungs=tuple(
                RungResult(
                    rung=i,
                    retention=float(seen.retention[0, i]),
                    recovery_tflops=float(seen.tflops[0, i]),
                    device_seconds=float(seen.seconds[0, i]),
                )
                for i in range(min(stage + 1, len(self.fractions) - 1))
            ),
        )

    def _evaluation(self, retention: float) -> EvaluationReport:
        average = DENSE_AVERAGE * (1.0 if self._dense else retention)
        return EvaluationReport(
            split="search",
            tasks={TASK: TaskScore(score=average, stderr=0.0, samples=1)},
            average=average,
            average_se=0.0,
            dense_average=None if self._dense else DENSE_AVERAGE,
            retention=None if self._dense else retention,
        )
