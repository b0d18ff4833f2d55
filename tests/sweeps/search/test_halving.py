"""Early stopping at rungs, on ledgers whose trials come out as they are told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import linregress

from sweeps.engine.search.halving import Course, Forecast, Halving, falls_behind, forecast
from sweeps.engine.spec import RungSpec
from sweeps.engine.spec.ledger import Ledger, Request
from trainables.common.files import write_json
from trainables.records import (
    RUNG,
    EvaluationReport,
    Provenance,
    RecoveryReport,
    RungResult,
    TrialRecord,
)
from trainables.specs import Origin, PruningSpec, RecoverySpec, TrialSpec

FRACTIONS = (0.25, 0.5)
Scores = tuple[float | None, ...]


class Runs:
    """A ledger and the rule over it; each trial is told its scores and how it ends."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.ledger, self.spec = Ledger(root, "s"), RungSpec(fractions=FRACTIONS, **settings)
        self.ledger.trials.mkdir(parents=True, exist_ok=True)
        self.halving = Halving(self.spec, self.ledger)

    def ask(
        self, method: str = "layerwise", ratio: float = 0.3, origin: Origin = "sampler", **more: Any
    ) -> Request:
        """A trial that starts now."""
        index = len(self.ledger.requests())
        request = Request(
            trial_id=f"t{index}",
            index=index,
            origin=origin,
            key=str(index),
            cell={"method": method},
            spec=TrialSpec(
                pruning=PruningSpec.model_validate({"method": method, "ratio": ratio}),
                recovery=RecoverySpec.model_validate({"scope": more.pop("scope", "joint")}),
                rungs=FRACTIONS,
                **more,
            ),
        )
        self.ledger.add(request)
        return request

    def at(
        self,
        request: Request,
        scores: tuple[float | None, ...],
        tflops: float,
        *,
        old: bool = False,
    ) -> bool:
        """It reaches its rungs with these scores; whether it goes on past the last of them."""
        rungs = tuple(
            RungResult(
                rung=i,
                retention=score,
                recovery_tflops=tflops * FRACTIONS[i],
                device_seconds=1.0,
                final_tflops=None if old else tflops,
            )
            for i, score in enumerate(scores)
        )
        self._write(request, RUNG, rungs, "completed", None, tflops)
        return self.halving.go_on(request.trial_id, rungs[-1])

    def end(
        self, request: Request, scores: tuple[float, ...], final: float, tflops: float, **how: Any
    ) -> None:
        """It runs to its end, without being judged on the way."""
        rungs = tuple(
            RungResult(rung=i, retention=s, recovery_tflops=tflops * f, device_seconds=1.0)
            for i, (s, f) in enumerate(zip(scores, FRACTIONS, strict=False))
        )
        self._write(request, "record.json", rungs, how.get("status", "completed"), final, tflops)

    def _write(
        self,
        request: Request,
        name: str,
        rungs: tuple[RungResult, ...],
        status: Any,
        final: float | None,
        tflops: float,
    ) -> None:
        retention = {"retention": final, "average": 50.0, "average_se": 1.0}
        record = TrialRecord(
            trial_id=request.trial_id,
            sweep="s",
            status=status,
            origin=request.origin,
            spec=request.spec,
            seeds=request.spec.seeds,
            recovery=RecoveryReport(scope=request.spec.recovery.scope, tflops=tflops),
            evaluation=EvaluationReport(split="search", tasks={}, **retention),
            rungs=rungs,
            provenance=Provenance(prunesweep="test"),
        )
        write_json(self.ledger.trials / request.trial_id / name, record)

    def finished(self, count: int = 12, cell: str = "hybrid") -> None:
        """Trials of another cell that gain 0.05 after their first rung, give or take 0.01."""
        for i in range(count):
            score = 0.5 + 0.03 * i
            final = score + 0.05 + (0.01 if i % 2 else -0.01)
            self.end(self.ask(cell, origin="designed"), (score, score), final, 1.0)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_what_is_foretold_is_a_line_in_depth() -> None:
    """Against scipy's regression."""
    rng = np.random.default_rng(0)
    score = rng.uniform(0.3, 0.99, 20)
    final = 1 - (1 - score) * rng.uniform(0.3, 0.8, 20)
    courses = [Course("c", {0.5: s, 1.0: f}) for s, f in zip(score, final, strict=True)]
    found = forecast(courses, 0.5, 10)
    assert found is not None
    x, y = -np.log(1.02 - score), -np.log(1.02 - final)
    line = linregress(x, y)
    assert (found.level, found.slope) == pytest.approx((line.intercept, line.slope))
    residuals = y - line.intercept - line.slope * x
    assert found.spread == pytest.approx(math.sqrt(np.sum(residuals**2) / 18))
    assert found.of(0.5)[0] == pytest.approx(line.intercept - line.slope * math.log(0.52))
    assert forecast(courses, 0.5, 21) is None
    assert forecast(courses, 0.25, 10) is None


def test_who_falls_behind_by_hand() -> None:
    """Depths of 0.62 and 0.82 are -log 0.4 and -log 0.2: log 2 = 0.693 apart."""
    told = {0.5: Forecast(0.0, 1.0, 0.3)}
    mine = Course("c", {0.5: 0.62}, {0.5: 10.0})
    ahead = Course("c", {1.0: 0.82}, {1.0: 10.0})
    assert falls_behind(mine, [ahead], told, 2.3), "0.69 is more"
    assert not falls_behind(mine, [ahead], told, 2.32), "0.696 is not"
    dearer = Course("c", {1.0: 0.99}, {1.0: 10.1})
    assert not falls_behind(mine, [dearer], told, 2.0)
    dearer.tflops[0.5] = 10.0  # it was foretold then what is foretold of mine now
    assert falls_behind(mine, [dearer], told, 2.0)
    # One that runs is foretold too: two errors of 0.3 are 0.424 together.
    running = Course("c", {0.25: 0.99, 0.5: 0.82}, {0.25: 5.0, 0.5: 5.0})
    assert falls_behind(mine, [running], told, 1.6)
    assert not falls_behind(mine, [running], told, 1.65)
    assert not falls_behind(mine, [running], told | {0.25: Forecast(9, 1, 0.1)}, 1.65), "latest"


def test_the_better_trial_is_kept_though_it_has_cost_more(runs: Runs) -> None:
    """What halving by cost so far did: 0.967 with a teacher was stopped, 0.501 without went on."""
    runs.finished()
    dear, cheap = runs.ask(), runs.ask()
    assert runs.at(cheap, (0.45,), tflops=1.0)
    assert runs.at(dear, (0.967,), tflops=1.8)
    behind = runs.ask()
    assert not runs.at(behind, (0.45,), tflops=2.0), "dearer than both, and behind"


def test_a_trial_that_is_dear_so_far_but_cheap_at_its_end_is_not_behind(runs: Runs) -> None:
    runs.finished()
    assert runs.at(runs.ask(), (0.9,), tflops=2.0)
    assert runs.at(runs.ask(), (0.5,), tflops=1.9), "no other is as cheap"
    assert not runs.at(runs.ask(), (0.5, 0.5), tflops=2.1)


def test_nothing_is_stopped_before_enough_trials_have_finished(runs: Runs) -> None:
    runs.finished(9)
    assert runs.at(runs.ask(), (0.9,), tflops=1.0)
    assert runs.at(runs.ask(), (0.2,), tflops=2.0)
    runs.finished(1)
    assert not runs.at(runs.ask(), (0.2,), tflops=2.0)


@pytest.mark.parametrize("origin", ["designed", "prior", "confirm", "reference"])
def test_only_what_the_sampler_chose_is_stopped(runs: Runs, origin: Origin) -> None:
    runs.finished()
    assert runs.at(runs.ask(), (0.9,), tflops=1.0)
    assert runs.at(runs.ask(origin=origin), (0.1,), tflops=2.0)
    assert runs.at(runs.ask(origin=origin), (None,), tflops=2.0)
    assert not runs.at(runs.ask(), (0.1,), tflops=2.0)
    assert not runs.at(runs.ask(), (None,), tflops=0.5)


@pytest.mark.parametrize(
    "other", [{"method": "widthwise"}, {"ratio": 0.6}, {"quantization": "nf4"}]
)
def test_only_trials_of_one_cell_size_and_quantization_are_compared(
    runs: Runs, other: dict[str, Any]
) -> None:
    runs.finished()
    assert runs.at(runs.ask(), (0.95,), tflops=1.0)
    assert runs.at(runs.ask(**other), (0.3,), tflops=2.0)
    assert not runs.at(runs.ask(), (0.3,), tflops=2.0)


def test_no_recovery_at_all_may_be_better(runs: Runs) -> None:
    """A trial that trains its model to pieces is behind the one that does not train."""
    runs.finished()
    runs.end(runs.ask(origin="designed", scope="none"), (), 0.8, 0.0)
    assert not runs.at(runs.ask(), (0.3,), tflops=0.1)


def test_a_failed_trial_stops_nobody(runs: Runs) -> None:
    runs.finished()
    runs.end(runs.ask(), (0.95, 0.95), 0.0, 1.0, status="failed")
    assert runs.at(runs.ask(), (0.3,), tflops=2.0)
    runs.end(runs.ask(), (0.95,), 0.95, 1.0, status="early_stopped")
    assert not runs.at(runs.ask(), (0.3,), tflops=2.0), "a stopped one's score still counts"


@pytest.mark.parametrize("old", [False, True])
def test_a_resumed_sweep_judges_the_same(tmp_path: Path, old: bool) -> None:
    """Finished trials and those underway are read from the ledger, also an older version's."""
    first = Runs(tmp_path)
    first.finished()
    ahead = first.ask()
    first.at(ahead, (0.8, 0.9), tflops=1.0, old=old)
    late = first.ask()
    first.at(late, (0.88,), tflops=1.0)
    again = Runs(tmp_path)
    for run in (again, first):
        assert run.at(late, (0.88, 0.89), tflops=1.0), "the same trial, once more"
        assert not run.at(run.ask(), (0.8, 0.6), tflops=1.1, old=old)


def _curve(rng: np.random.Generator, ratio: float, designed: bool) -> tuple[float, float, Scores]:
    """(cost, final retention, scores at the rungs) of a trial whose curve may cross others'."""
    start, best = 1 - 1.3 * ratio, 1 - 0.35 * ratio**1.5
    share = 0.05 if designed else rng.choice((0.02, 0.05, 0.1, 0.2))
    teacher, lora = rng.random(2) < (0.8, 0.6)
    cost = share * (1.4 if teacher else 1.0) * (1.0 if lora else 0.85) * rng.uniform(0.98, 1.02)
    quality = rng.lognormal(0, 0.6) * (1.3 if lora else 0.5) * (1.2 if teacher else 0.9)
    final = start + (best - start) * (1 - math.exp(-math.sqrt(share / 0.05 * quality)))
    if not designed and rng.random() < 0.12:  # it trains its model to pieces
        final = start * rng.uniform(0.7, 1.0)
    pace, dip = rng.lognormal(1.2, 0.7), rng.exponential(0.01)
    gone = [(1 - math.exp(-pace * f)) / (1 - math.exp(-pace)) for f in FRACTIONS]
    scores = tuple(
        start + (final - start) * g - dip * (1 - f) + rng.normal(0, 0.008)
        for g, f in zip(gone, FRACTIONS, strict=True)
    )
    return cost, final + rng.normal(0, 0.005), scores


@pytest.mark.parametrize(("margin", "most", "most_spent"), [(3.0, 0.05, 0.93), (None, 0.005, 0.97)])
def test_trials_of_the_final_front_are_kept(
    margin: float | None, most: float, most_spent: float
) -> None:
    """So few of those that would end on a cell's front are stopped; sweeps of 184 trials."""
    given = {} if margin is None else {"margin": margin}
    spec = RungSpec(fractions=FRACTIONS, **given)
    front, front_stopped, spent, whole = 0, 0, 0.0, 0.0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        told: list[Course] = []
        ends: list[tuple[int, float, float, bool]] = []
        for i in range(184):
            cell, designed = i % 8, i < 24
            cost, final, scores = _curve(rng, (0.15, 0.3, 0.45, 0.6)[cell % 4], designed)
            mine, share = Course(cell), 1.0
            for fraction, score in zip(FRACTIONS, scores, strict=True):
                assert score is not None
                mine.scores[fraction], mine.tflops[fraction] = score, cost
                forecasts = {
                    f: found for f in FRACTIONS if (found := forecast(told, f, spec.min_trials))
                }
                others = [course for course in told if course.bucket == cell]
                if not designed and falls_behind(mine, others, forecasts, spec.margin):
                    share = fraction
                    break
            else:
                mine.scores[1.0], mine.tflops[1.0] = final, cost
            told.append(mine)
            ends.append((cell, cost, final, share < 1))
            spent, whole = spent + cost * share, whole + cost
        for cell, cost, final, stopped in ends:
            if not any(c == cell and t <= cost and r > final for c, t, r, _ in ends):
                front, front_stopped = front + 1, front_stopped + stopped
    assert front > 300
    assert front_stopped <= most * front
    assert spent < most_spent * whole
