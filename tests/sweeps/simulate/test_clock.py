"""A sweep under a simulated clock: its times by hand, its decisions, and its ledger."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import invoke

from analysis.load import load_trials
from sweeps.engine.simulate.clock import simulate
from sweeps.engine.simulate.found import attainable, follow
from sweeps.engine.simulate.objective import FRACTIONS, Analytic
from sweeps.engine.simulate.running import Ended
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import load_sweep

ANALYTIC = Analytic()


def _sweep(*overrides: str) -> SweepSpec:
    return load_sweep("quickstart", ["strata.ratio=[0.3,0.6]", "designed=[]", *overrides])


def _run(sweep: SweepSpec, folder: Path, slots: int = 1) -> list[Ended]:
    return list(simulate(sweep, ANALYTIC, folder, slots))


def test_one_slot_works_through_the_trials_one_after_another(tmp_path: Path) -> None:
    trials = _run(_sweep("samples=12"), tmp_path)
    ends = np.cumsum([trial.device_seconds for trial in trials])
    assert [trial.wall_seconds for trial in trials] == pytest.approx(list(ends))
    assert len(trials) == 15  # the dense base and two priors besides


def test_slots_work_at_the_same_time_and_never_idle(tmp_path: Path) -> None:
    trials = _run(_sweep("samples=40"), tmp_path, slots=4)
    seconds = [trial.device_seconds for trial in trials]
    end = max(trial.wall_seconds for trial in trials)
    assert sum(seconds) / 4 <= end <= sum(seconds) / 4 + max(seconds)


def test_the_same_seed_gives_the_same_search_and_another_one_does_not(tmp_path: Path) -> None:
    def search(folder: str, *more: str) -> list[tuple[str, float | None]]:
        trials = _run(_sweep("samples=20", *more), tmp_path / folder, slots=3)
        return [(trial.trial_id, trial.retention) for trial in trials]

    assert search("a") == search("b")
    assert search("a2", "seed=1") != search("b2")


def test_scores_carry_the_noise_that_the_objective_has(tmp_path: Path) -> None:
    trials = _run(_sweep("samples=150", "startup_samples=10000"), tmp_path)
    off = [trial.retention - trial.truth for trial in trials if trial.retention is not None]
    assert len(off) == 152
    assert np.std(off) == pytest.approx(Analytic.NOISE, rel=0.25)


def test_stopped_trials_cost_what_they_had_cost_at_their_rung(tmp_path: Path) -> None:
    fractions = "rungs.fractions=[0.1111111111111111,0.3333333333333333]"
    sweep = _sweep("samples=60", fractions, "rungs.margin=1.0")
    trials = _run(sweep, tmp_path, slots=4)
    ledger = Ledger(tmp_path, sweep.name)
    stopped = [trial for trial in trials if trial.fraction < 1]
    assert len(stopped) >= 10
    for trial in stopped:
        record = ledger.record(trial.trial_id)
        assert record is not None
        assert record.status == "early_stopped"
        place = [f"{f:.6f}" for f in FRACTIONS].index(f"{trial.fraction:.6f}")
        curves = ANALYTIC.curves(np.array([trial.row]))
        assert record.cost is not None
        assert sum(record.cost.device_seconds.values()) == pytest.approx(curves.seconds[0, place])
        assert record.rungs[-1].final_tflops == pytest.approx(curves.tflops[0, -1])
        assert record.rungs[-1].recovery_tflops == pytest.approx(curves.tflops[0, place])
    bare = [t for t in trials if t.row[2] == 0]
    assert bare
    assert {t.fraction for t in bare} == {1.0}  # what is not trained has no rungs


def test_rungs_that_stop_nothing_stop_nothing(tmp_path: Path) -> None:
    sweep = _sweep("samples=30", "rungs.fractions=[0.2]", "rungs.stop=false")
    assert {trial.fraction for trial in _run(sweep, tmp_path)} == {1.0}


def test_a_budget_of_simulated_hours_ends_the_search(tmp_path: Path) -> None:
    free = _run(_sweep("samples=40"), tmp_path / "free", slots=4)
    hours = sum(trial.device_seconds for trial in free) / 3600
    half = _run(_sweep("samples=40", f"budget.device_hours={hours / 2}"), tmp_path / "half", 4)
    spent = sum(trial.device_seconds for trial in half) / 3600
    longest = max(trial.device_seconds for trial in free) / 3600
    assert hours / 2 - longest <= spent <= hours / 2
    assert [t.trial_id for t in half[:5]] == [t.trial_id for t in free[:5]]
    result = invoke(
        "simulate", "quickstart", "--objective", "analytic", "--set", "budget.wall_hours=0.1",
        "--json",
    )  # fmt: skip
    found = json.loads(result.stdout)
    assert found["moments"][-1]["wall_hours"] <= 0.1
    assert "budget.wall_hours=0.1" in found["ended"][0]


def test_the_known_fronts_hold_everything_that_a_cell_can_come_to(tmp_path: Path) -> None:
    sweep = _sweep("samples=150", "startup_samples=10000")
    trials = [t for t in _run(sweep, tmp_path) if t.cell is not None]
    for cell in attainable(sweep, ANALYTIC):
        own = [(t.truth, t.final_tflops) for t in trials if t.cell == cell.cell]
        front = cell.front
        for retention, tflops in own:  # none lies beyond the front
            assert front[front[:, 1] <= tflops + 1e-9, 0].max() >= retention - 1e-9
        assert 0.5 < cell.share(own) < 1.0
        assert cell.share([*own, *map(tuple, front)]) == pytest.approx(1.0)
        assert cell.share([]) == 0.0


def test_what_was_found_when(tmp_path: Path) -> None:
    sweep = _sweep("samples=30")
    trials = _run(sweep, tmp_path)
    found = follow(sweep, ANALYTIC, 1, trials)
    assert [m.trials for m in found.moments] == [1, 2, 5, 10, 20, 33]
    shares = [m.share for m in found.moments]
    assert shares == sorted(shares)
    assert found.moments[-1].device_hours == pytest.approx(trials[-1].wall_seconds / 3600)
    assert found.reached["0.50"].share >= 0.5
    best = max((t for t in trials if t.cell == found.cells[0].cell), key=lambda t: t.retention or 0)
    assert found.cells[0].best == best.trial_id


def test_the_command_leaves_a_ledger_that_others_read(tmp_path: Path) -> None:
    change = ["--objective", "analytic", "--set", "samples=10"]
    result = invoke("simulate", "quickstart", *change, "--json", "--storage", tmp_path)
    found = json.loads(result.stdout)
    assert found["moments"][-1]["trials"] == len(load_trials(tmp_path / "quickstart"))
    invoke("status", "quickstart", "--storage", tmp_path)
    assert invoke("frontier", "quickstart", "--storage", tmp_path).stdout.count("widthwise") >= 1
    again = invoke("simulate", "quickstart", *change, "--storage", tmp_path, code=2)
    assert "holds" in again.stderr
    assert "--storage" in again.stderr


def test_an_unknown_objective_is_one_line() -> None:
    result = invoke("simulate", "quickstart", "--objective", "analytc", code=2)
    assert result.stderr.count("\n") == 1
    assert "Did you mean 'analytic'" in result.stderr
