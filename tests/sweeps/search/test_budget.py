"""A budget ends the search before it is exceeded, says why, and the search goes on once raised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.agendas import drain, finish
from helpers.command_line import invoke

from sweeps.engine.search.agenda import WAIT, Agenda
from sweeps.engine.search.budget import Purse
from sweeps.engine.spec import BudgetSpec
from sweeps.engine.spec.endings import over_budget_lines
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import BadInputError, apply_overrides, load_sweep
from sweeps.engine.spec.spent import covered, spent_of
from trainables.common.files import write_json
from trainables.models.families.registry import language_shape
from trainables.records import CostReport, Provenance
from trainables.trial.jobs import ReportJob

SECONDS = 100.0  # device-seconds of every trial here
STARTED, FINISHED = "2026-11-29T10:00:00+00:00", "2026-11-29T10:01:40+00:00"


def costly(job: Any, seconds: float = SECONDS) -> None:
    """Finish a trial that took so long."""
    cost = CostReport(
        device="x", devices=1, device_seconds={"recover": seconds}, wall_seconds=seconds
    )
    record = finish(job).model_copy(update={"cost": cost})
    write_json(job.folder / "record.json", record)


def crashed(job: Any) -> None:
    """Finish a trial whose process died: no clock of its own."""
    provenance = Provenance(prunesweep="test", started=STARTED, finished=FINISHED)
    record = finish(job, "failed").model_copy(update={"provenance": provenance})
    write_json(job.folder / "record.json", record)


@pytest.fixture
def budgeted(small_sweep: Any, tmp_path: Path) -> Any:
    """A function that opens an agenda whose trials are expected to take `SECONDS`."""

    def make(candidates: Any = list, clock: Any = lambda: 0.0, **budget: Any) -> Any:
        sweep = small_sweep(priors=False, samples=20, budget=BudgetSpec(**budget))
        ledger = Ledger(tmp_path, sweep.name)
        ledger.open(sweep)
        purse = Purse(sweep.budget, ledger, lambda spec: SECONDS, clock)
        shape = language_shape(sweep.trial.model)
        return Agenda(sweep, shape, ledger, candidates, purse=purse), ledger

    return make


@pytest.mark.parametrize(
    "budget",
    [
        {"device_hours": 7.5 * SECONDS / 3600},
        {"trials": 7},
        {"money": 7.5 * SECONDS / 3600 * 2.0, "price_per_device_hour": 2.0},
    ],
)
def test_no_trial_starts_that_would_exceed_it(budgeted: Any, budget: dict[str, float]) -> None:
    agenda, ledger = budgeted(**budget)
    assert len(drain(agenda, costly)) == 7
    (line,) = over_budget_lines(ledger)
    assert f"budget.{next(iter(budget))}=" in line
    assert spent_of(ledger).device_seconds == 7 * SECONDS


def test_raised_it_goes_on_and_the_word_is_gone(budgeted: Any) -> None:
    assert len(drain(budgeted(trials=5)[0], costly)) == 5
    agenda, ledger = budgeted(trials=9)
    assert over_budget_lines(ledger) == []
    assert len(drain(agenda, costly)) == 4
    agenda, ledger = budgeted()
    assert len(drain(agenda, costly)) == 22 - 9
    assert over_budget_lines(ledger) == []


def test_trials_whose_process_died_count(budgeted: Any) -> None:
    agenda, ledger = budgeted(device_hours=5.5 * SECONDS / 3600)
    job_id, base = agenda.next()
    costly(base)
    agenda.ended(job_id)
    assert len(drain(agenda, crashed)) == 4
    assert spent_of(ledger).device_seconds == 5 * SECONDS


def test_running_trials_count_by_their_forecast(budgeted: Any) -> None:
    agenda, _ = budgeted(device_hours=4.5 * SECONDS / 3600)
    started = [agenda.next() for _ in range(4)]
    assert agenda.next() == WAIT
    for job_id, job in started:  # they take half of what was forecast, so that there is room again
        costly(job, SECONDS / 2)
        agenda.ended(job_id)
    assert len(drain(agenda, costly)) == 2


def test_an_interrupted_trial_is_not_lost_by_a_spent_budget(budgeted: Any) -> None:
    agenda, _ = budgeted(trials=3)
    for _ in range(3):
        name, job = agenda.next()
        if job.trial_id != "dense":
            continue
        costly(job)
        agenda.ended(name)
    again, ledger = budgeted(trials=2)
    assert len(drain(again, costly)) == 1
    more, _ = budgeted(trials=3)
    assert len(drain(more, costly)) == 1
    assert len(ledger.requests()) == 3


def test_the_closing_pass_runs_all_the_same(budgeted: Any) -> None:
    agenda, _ = budgeted(candidates=lambda: ["dense"], trials=3)
    for _ in range(3):
        job_id, job = agenda.next()
        costly(job)
        agenda.ended(job_id)
    assert isinstance(agenda.next()[1], ReportJob)


def test_wall_hours_are_those_in_which_trials_run(budgeted: Any) -> None:
    now = [0.0]
    agenda, ledger = budgeted(clock=lambda: now[0], wall_hours=3.5 * SECONDS / 3600)
    done = 0
    while (first := agenda.next()) is not None:
        pair = [first, agenda.next()]
        now[0] += SECONDS
        for item in pair:
            if isinstance(item, tuple):
                costly(item[1])
                agenda.ended(item[0])
                done += 1
        now[0] += 1000  # nothing runs
    assert done == 6
    assert "budget.wall_hours" in over_budget_lines(ledger)[0]


def test_overlapping_trials_take_the_hours_that_they_cover() -> None:
    assert covered([(0, 10), (5, 12), (20, 21), (6, 7)]) == 13


def test_what_exceeds_a_limit_stops_at_its_rung(budgeted: Any) -> None:
    now = [0.0]
    agenda, _ = budgeted(clock=lambda: now[0], device_hours=2.5 * SECONDS / 3600)
    assert agenda.next()[1].trial_id == "dense"
    assert not agenda.purse.exceeded()
    now[0] = 3 * SECONDS
    assert agenda.purse.exceeded()


def test_a_search_that_finds_nothing_better_ends(budgeted: Any) -> None:
    """Every trial is as good and as dear as the first one of its cell: nothing is gained by 6."""
    agenda, ledger = budgeted(plateau={"growth": 0.01, "trials": 6})
    jobs = drain(agenda, lambda job: finish(job, retention=0.5))
    assert len(jobs) < 22
    assert "enlarged the hypervolume by 0.00%" in over_budget_lines(ledger)[0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("budget.money=10", "without a price; set budget.price_per_device_hour"),
        ("budget.device_hours=-1", "greater than 0"),
        ("budget.trials=0", "greater than or equal to 1"),
        ("budget.hours=3", "budget.device_hours"),
    ],
)
def test_a_bad_budget_is_one_line(setting: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        apply_overrides(load_sweep("quickstart"), [setting])


def test_two_limits_can_be_set_from_the_command_line() -> None:
    asked = ["budget.device_hours=2", "budget.trials=30", "trial.recovery.budget.steps=3"]
    sweep = apply_overrides(load_sweep("quickstart"), asked)
    assert sweep.budget == BudgetSpec(device_hours=2, trials=30)
    assert sweep.trial.recovery.budget.steps == 3


def test_a_budget_below_the_designed_points_says_what_they_cost(tmp_path: Path) -> None:
    asked = ("plan", "quickstart", "--storage", tmp_path, "--set")
    refused = invoke(*asked, "budget.trials=5", code=2).stderr
    assert "budget.trials=5, but the trials that always run" in " ".join(refused.split())
    assert "are 12" in refused
    refused = invoke(*asked, "budget.device_hours=0.001", code=2).stderr
    assert "come to 0.0" in " ".join(refused.split())
    refused = invoke(*asked, "budget.wall_hours=0.0001", code=2).stderr
    assert "the longest alone" in " ".join(refused.split())
