"""A sweep under a simulated clock: its own agenda, sampler and halving, and an objective."""

import heapq
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sweeps.engine.plan.preflight import check_sweep
from sweeps.engine.search.agenda import WAIT, Agenda
from sweeps.engine.search.budget import Purse
from sweeps.engine.search.halving import Halving
from sweeps.engine.search.rungs import goes_on
from sweeps.engine.simulate.features import row_of
from sweeps.engine.simulate.objective import Objective
from sweeps.engine.simulate.running import Ended, Running
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from trainables.common.files import write_json
from trainables.records import RECORD, RUNG
from trainables.specs import TrialSpec
from trainables.trial.jobs import TrialJob
from trainables.trial.launch import summary


def simulate(sweep: SweepSpec, objective: Objective, storage: Path, slots: int) -> Iterator[Ended]:
    """The trials of a sweep in the order in which they end; its ledger is written as they do.

    There is no closing pass. Trials do not fail, and the budget's forecast of what one takes is
    right.

    Args:
        sweep: the sweep; its seed is that of the noise, too.
        objective: what trials come to.
        storage: where the ledger goes.
        slots: trials at a time.

    Raises:
        BadInputError: the sweep cannot run.
        ValueError: the objective knows nothing of its settings, the ledger holds trials, or the
            sampler failed.
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
    now, driver, open_ = 0.0, _Stopwatch(), True

    def expected(spec: TrialSpec) -> float:
        rows = np.array([row_of(spec, sweep.base_trial)])
        return float(objective.curves(rows).seconds[0, -1])

    purse = Purse(sweep.budget, ledger, expected, clock=lambda: now)
    agenda = Agenda(sweep, shape, ledger, lambda: (), purse=purse)
    halving = Halving(sweep.rungs, ledger) if sweep.rungs and sweep.rungs.stop else None
    order = itertools.count()
    events: list[tuple[float, int, int, Running]] = []
    while True:
        while open_ and len(events) < slots:
            with driver:
                item = agenda.next()
            if item == WAIT:
                break
            if item is None:
                open_ = False
                break
            name, job = item
            assert isinstance(job, TrialJob)
            trial = Running(job, ledger.seen()[name], sweep, objective, shape, now)
            heapq.heappush(events, (trial.when(0), next(order), 0, trial))
        if not events:
            break
        now, _, stage, trial = heapq.heappop(events)
        folder = trial.job.folder
        last = stage == len(trial.fractions) - 1
        if not last:
            reached = trial.record(stage)
            write_json(folder / RUNG, reached)
            result = {"kind": "rung", "rung": stage, **summary(reached)}
            with driver:
                on = halving is None or goes_on(halving, trial.job, result, stop=purse.exceeded())
            if on:
                heapq.heappush(events, (trial.when(stage + 1), next(order), stage + 1, trial))
                continue
        else:
            write_json(folder / RECORD, trial.record(stage))
        with driver:
            agenda.ended(trial.job.trial_id)
        yield trial.ended(stage, now, driver.seconds)
    if agenda.sampler_error is not None:
        raise ValueError(agenda.sampler_error)


class _Stopwatch:
    """Adds up the seconds spent within it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._begin
