"""What the search finds for its trials, against others, on objectives that answer at once.

Command: `python tests/benchmarks/search.py [--seeds 20] [--trials 480] [--objective analytic]`

All search the `frontier` space of `search_table` with 4 slots under a simulated clock, without
designed points and priors. Counted is what completed trials are without noise: the share of the
attainable hypervolume (above no recovery, over log cost), mean over the cells; see
`sweeps/engine/simulate/found.py`. Attainable on the table is what its own 620 trials come to,
elsewhere the best of a fine grid. For each search the table says the share after 40, 80 and 160
trials (mean over seeds), trials and device-seconds until 95 % (median, bootstrapped 95 %
interval; a seed that does not get there counts as the most trials, marked >), in how many seeds it
got there, in how many a trial was stopped that would have been on the front by then, and how many
trials had no recovery. A search is followed until it has 95 %, and for 160 trials at least.

Ours are `SweepSpec`s run by `prunesweep simulate`'s own loop; `search_others.py` holds the rest.
Syne Tune is installed into `--syne FOLDER`, an environment of its own; without it the row is left
out.
"""

from __future__ import annotations

import argparse
import functools
import heapq
import itertools
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from search_others import Moasha, PerCell, Stock, syne_python

from search_spaces.suggesters import PointTrial
from sweeps.engine.simulate.clock import simulate
from sweeps.engine.simulate.features import AT, Leaf, Rows, row_of
from sweeps.engine.simulate.found import (
    Attainable,
    Moment,
    attainable,
    course,
    front_stopped,
    reached_at,
)
from sweeps.engine.simulate.objective import FRACTIONS, Analytic, Curves, Objective
from sweeps.engine.simulate.running import Ended
from sweeps.engine.simulate.table import PARQUET, Table
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.loading import apply_overrides, load_sweep

SLOTS, ENOUGH = 4, 0.95
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # as a ledger is many small files
MARKS = (40, 80, 160)
PLAIN = ("designed=[]", "replicates=1", "priors=false")
RUNGS = "rungs.fractions=[0.1111111111111111,0.3333333333333333]"
SAMPLERS = {"random": "random"} | {f"ours ({name})": name for name in ("ehvi", "tpe", "gp")}
OURS: dict[str, tuple[str, ...]] = {
    name + (", rungs" if rungs else ""): (f"sampler={sampler}", *more)
    for name, sampler in SAMPLERS.items()
    for rungs, more in ((False, ("rungs=null",)), (True, (RUNGS, "rungs.stop=true")))
}
# Learning from 120 random trials of a sweep of other ratios, and of one where what is good is bad.
SOURCES = {"ours (ehvi), related": False, "ours (ehvi), misled": True}
OURS |= {name: ("sampler=ehvi", "rungs=null", "learn_from=[source]") for name in SOURCES}
SOURCE = ("name=source", "sampler=random", "samples=120", "rungs=null", "seed=100",
          "strata.ratio=[0.2, 0.35, 0.5]")  # fmt: skip
OTHERS = ("TPE per cell", "NSGA-II per cell", "OptunaSearch", "MOASHA per cell")


@dataclass(frozen=True)
class Over:
    """An objective that answers as another one, but for what a subclass says."""

    of: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)


class Entries(Over):
    """A table whose attainable settings are those that it holds."""

    def spread(self, leaf: Leaf) -> Rows:
        """Its entries that differ from the leaf in the continuous factors alone."""
        held = np.delete(self.of.rows - np.array(leaf.row), list(leaf.free), axis=1)
        return self.of.rows[np.abs(held).max(axis=1) < 1e-9]


class Reversed(Over):
    """What is good in the objective is bad here; costs are the same."""

    def curves(self, rows: Rows) -> Curves:
        """What the settings come to, noise-free."""
        found = self.of.curves(rows)
        return Curves(1.0 - found.retention, found.tflops, found.seconds)


@dataclass(frozen=True)
class Job:
    """One search with one seed."""

    search: str
    seed: int
    trials: int
    objective: str
    table: str
    syne: str | None


@dataclass(frozen=True)
class Result:
    """What it came to; `reached` is None if the share never was."""

    shares: tuple[float, ...]
    reached: Moment | None
    end: Moment
    lost: bool
    bare: float


def main() -> None:
    """Run all searches and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=480)
    parser.add_argument("--objective", choices=("analytic", "table"), default="analytic")
    parser.add_argument("--table", default=str(PARQUET))
    parser.add_argument("--only", nargs="*", help="searches whose names begin like this")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--syne", type=Path, default=Path(tempfile.gettempdir()) / "syne-tune")
    given = parser.parse_args()
    python = syne_python(given.syne)
    if python is None:
        print("MOASHA is left out: syne-tune could not be installed.")
    names = [n for n in (*OURS, *OTHERS) if python or not n.startswith("MOASHA")]
    names = [n for n in names if not given.only or n.startswith(tuple(given.only))]
    jobs = [
        Job(name, seed, given.trials, given.objective, given.table, python)
        for name in names
        for seed in range(given.seeds)
    ]
    print(f"objective {given.objective}, {given.seeds} seeds, at most {given.trials} trials")
    head = [f"at {mark}" for mark in MARKS], ["trials to 95 %", "device-seconds to 95 %"]
    print(f"{'search':<20}", *(f"{h:>8}" for h in head[0]), *(f"{h:>24}" for h in head[1]),
          f"{'reached':>8}", f"{'lost':>6}", f"{'bare':>5}")  # fmt: skip
    with ProcessPoolExecutor(given.workers) as pool:
        for name, group in itertools.groupby(
            zip(jobs, pool.map(_search, jobs), strict=True), key=lambda pair: pair[0].search
        ):
            _print(name, [result for _, result in group], given.trials)


def _print(name: str, results: list[Result], most: int) -> None:
    shares = np.array([r.shares for r in results]).mean(axis=0)
    trials = [r.reached.trials if r.reached else most for r in results]
    seconds = [3600 * (r.reached or r.end).device_hours for r in results]
    reached = sum(r.reached is not None for r in results)
    lost = sum(r.lost for r in results)
    mark = ">" if reached <= len(results) / 2 else ""
    texts = [_with_interval(values, mark) for values in (trials, seconds)]
    print(f"{name:<20}", *(f"{100 * s:8.1f}" for s in shares), *(f"{t:>24}" for t in texts),
          f"{reached}/{len(results):<4}".rjust(8), f"{lost}/{len(results)}".rjust(6),
          f"{np.mean([r.bare for r in results]):5.0%}", flush=True)  # fmt: skip


def _with_interval(values: list[float] | list[int], mark: str) -> str:
    rng, array = np.random.default_rng(0), np.array(values, dtype=float)
    medians = np.median(rng.choice(array, (2000, len(array))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return f"{mark}{np.median(array):.0f} [{low:.0f}, {high:.0f}]"


@functools.cache
def _objective(name: str, table: str) -> Objective:
    return cast(Objective, Entries(Table.read(Path(table)))) if name == "table" else Analytic()


@functools.cache
def _fronts(name: str, table: str) -> list[Attainable]:
    return attainable(load_sweep("search_table", PLAIN), _objective(name, table))


def _search(job: Job) -> Result:
    sweep = load_sweep("search_table", [*PLAIN, f"seed={job.seed}"])
    objective = _objective(job.objective, job.table)
    fronts = _fronts(job.objective, job.table)
    if job.search not in OURS:
        return _measured(_run_other(job, sweep, objective), fronts)
    ours = apply_overrides(sweep, [f"samples={job.trials}", *OURS[job.search]])
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        if job.search in SOURCES:
            answers = Reversed(objective) if SOURCES[job.search] else objective
            list(simulate(apply_overrides(sweep, SOURCE), answers, Path(folder), SLOTS))
        trials = simulate(ours, objective, Path(folder), SLOTS)
        return _measured((trial for trial in trials if trial.cell is not None), fronts)


def _run_other(job: Job, sweep: SweepSpec, objective: Objective) -> Iterator[Ended]:
    """The trials of a search that is not ours, under the same clock."""
    search: Any
    if job.search == "OptunaSearch":
        search = Stock(sweep, job.seed)
    elif job.search == "MOASHA per cell":
        search = Moasha(sweep, job.seed, str(job.syne))
    else:
        search = PerCell(sweep, job.seed, "nsga2" if job.search.startswith("NSGA") else "tpe")
    events: list[tuple[float, int, int, float, Any]] = []
    now, number = 0.0, 0
    while True:
        while number < job.trials and len(events) < SLOTS:
            place, params = search.ask(number)
            cell, point = sweep.cells[place], PointTrial(params)
            row = row_of(sweep.search_space.build(point, cell, sweep.base_trial), sweep.base_trial)
            exact = objective.curves(np.array([row]))
            noise = objective.noise(row, np.random.default_rng((job.seed, number)))
            bare = row[AT["recovers"]] == 0
            known = (cell, row, exact, exact.retention[0] + noise)
            stage = len(FRACTIONS) - 1 if bare else 0
            heapq.heappush(events, (now + exact.seconds[0, stage], number, stage, now, known))
            number += 1
        if not events:
            return
        now, trial, stage, start, known = heapq.heappop(events)
        cell, row, exact, seen = known
        last = stage == len(FRACTIONS) - 1
        tflops = float(exact.tflops[0, stage])
        if last:
            search.tell(trial, float(seen[stage]), tflops)
        elif search.reached(trial, stage, float(seen[stage]), tflops):
            then = start + exact.seconds[0, stage + 1]
            heapq.heappush(events, (then, trial, stage + 1, start, known))
            continue
        yield Ended(
            str(trial), "sampler", cell, row, FRACTIONS[stage], float(seen[stage]),
            float(seen[-1]), float(exact.retention[0, -1]), float(exact.tflops[0, -1]),
            float(exact.seconds[0, stage]), now, 0.0,
        )  # fmt: skip


def _measured(found: Iterable[Ended], fronts: list[Attainable]) -> Result:
    """What a search comes to, followed until nothing more is asked of it."""
    trials: list[Ended] = []
    moments: list[Moment] = []

    def kept() -> Iterator[Ended]:
        for trial in found:
            trials.append(trial)
            yield trial

    for moment in course(fronts, kept()):
        moments.append(moment)
        if moment.share >= ENOUGH and moment.trials >= MARKS[-1]:
            break
    at = tuple(moments[min(mark, len(moments)) - 1].share for mark in MARKS)
    lost = any(front_stopped([t for t in trials if t.cell == front.cell]) for front in fronts)
    bare = sum(trial.row[AT["recovers"]] == 0 for trial in trials)
    return Result(at, reached_at(moments, ENOUGH), moments[-1], lost, bare / len(trials))


if __name__ == "__main__":
    main()
