"""Objectives and limits: what Optuna is told of them, and what a search makes of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from helpers.agendas import drain
from helpers.command_line import invoke
from helpers.trials import make_dense, make_trial, write_sweep

from analysis.goals import Goals
from search_spaces.spaces import SPACES
from search_spaces.suggesters import PointTrial
from sweeps.engine.run.runner import candidates
from sweeps.engine.search.history import as_optuna, standardised
from sweeps.engine.search.observations import Observation, outcome
from sweeps.engine.search.sampler import propose
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import BadInputError, load_sweep
from trainables.common.files import write_json
from trainables.records import (
    Comparison,
    EfficiencyReport,
    EvaluationReport,
    Provenance,
    RecoveryReport,
    TaskScore,
    TrialRecord,
)
from trainables.specs import TrialSpec
from trainables.trial.jobs import TrialJob

SPACE = SPACES["frontier"].restricted({"scope": ("joint", "projector")})
CELL = {"method": "layerwise", "ratio": 0.3}
POINT = {"scope": "projector", "terms": "ce", "data_fraction": 0.1, "lr_scale": 1.0}
THREE = ("retention", "worst_task", "recovery_tflops")


def _seen(reached: Any, excess: Any = None, cell: Any = None, **changes: Any) -> Observation:
    point = PointTrial({**POINT, **changes})
    SPACE.build(point, CELL, TrialSpec())
    made = (cell or CELL, point.params, point.distributions, "completed")
    return Observation(*made, reached, excess or {})


def _scores(**scores: float) -> EvaluationReport:
    """Scores of tasks of which the dense base has 80 each."""
    tasks = {
        name: TaskScore(
            score=value,
            stderr=1,
            samples=10,
            paired=Comparison(dense=80, difference=value - 80, low=0, high=0),
        )
        for name, value in scores.items()
    }
    average = float(np.mean(list(scores.values())))
    return EvaluationReport(
        split="search",
        tasks=tasks,
        average=average,
        average_se=1,
        dense_average=80,
        retention=average / 80,
        retention_se=0.01,
    )


def test_a_record_has_the_values_of_its_goals_and_how_far_it_is_beyond_the_limits() -> None:
    names = ("retention", "worst_task", "tiny_counting", "weights_mib", "params")
    limits = {"weights_mib": 8.0, "retention": 0.9, "tiny_relation": 30.0}
    goals = Goals.named(names, limits, ("tiny_counting", "tiny_relation"))
    record = make_trial("a", weights_mib=10.0).record.model_copy(
        update={"evaluation": _scores(tiny_counting=72.0, tiny_relation=40.0)}
    )
    found = outcome(record, goals)
    assert found["reached"] == (pytest.approx(0.7), 0.5, 72.0, 10.0, 3_300_000)
    assert found["excess"] == {
        "weights_mib": pytest.approx(2 / 8),
        "retention": pytest.approx(0.2 / 0.9),
        "tiny_relation": pytest.approx(-10 / 30),
    }
    assert not goals.kept_by(record)
    assert Goals.named(names, {"weights_mib": 10.0}, ("tiny_counting",)).kept_by(record)


def test_optuna_is_told_of_limits_as_constraints() -> None:
    aims = Goals().objectives
    good, bad = {"weights_mib": -0.1, "retention": 0.0}, {"weights_mib": 0.25, "retention": -0.1}
    told = as_optuna([_seen((0.9, 4.0), good), _seen((0.8, 2.0), bad)], {}, aims)
    assert [t.constraints for t in told] == [good, bad]
    (unknown,) = as_optuna([_seen((0.9, 4.0), {"memory_mib": None})], {}, aims)
    assert unknown.state is optuna.trial.TrialState.FAIL, "whether it keeps the limit is unknown"
    assert unknown.constraints == {}


def test_any_number_and_direction_of_objectives_compares_across_cells() -> None:
    """Scores in spreads of their cell, costs as log10, sizes besides off the cell's mean."""
    names = ("recovery_tflops", "weights_mib", "retention", "worst_task")
    aims = Goals.named(names, {}, ()).objectives
    cells = ({"ratio": 0.3}, {"ratio": 0.6})
    history = [
        _seen((cost, size * off, level + gap, level - gap), cell=cell)
        for cell, size, level in zip(cells, (1000.0, 10.0), (0.9, 0.4), strict=True)
        for cost, off, gap in ((10.0, 1.0, -0.1), (1000.0, 10.0, 0.1))
    ]
    z = 0.1 / math.sqrt(0.015)  # as hand-computed in test_sampler
    low, high = (1.0, -0.5, -z, z), (3.0, 0.5, z, -z)
    assert standardised(history, aims) == [pytest.approx(v) for v in (low, high, low, high)]
    single = Goals.named(("retention",), {}, ()).objectives
    assert standardised([_seen((0.5,)), _seen((math.nan,))], single) == [(0.0,), None]


@pytest.mark.parametrize("names", [("retention",), THREE, ("tflops", "weights_mib", *THREE)])
def test_the_study_has_the_sweeps_directions(names: tuple[str, ...]) -> None:
    aims = Goals.named(names, {}, ()).objectives
    rng = np.random.default_rng(0)
    rates = rng.uniform(0.25, 4.0, 300)  # more than a study holds
    history = [_seen(tuple(rng.uniform(1, 2, len(names))), lr_scale=rate) for rate in rates]
    made = [
        propose(SPACE, CELL, TrialSpec(), history, seed=(1, i), objectives=aims) for i in range(3)
    ]
    assert {proposal.drawn for proposal in made} == {"model"}


def _shares(limit: float | None, sampler: str = "tpe") -> float:
    """Share of rates below 1 that are asked for, retention rising with the rate."""
    history: list[Observation] = []
    rng = np.random.default_rng(0)
    for rate in 4.0 ** rng.uniform(-1, 1, 60):
        excess = {} if limit is None else {"recovery_tflops": float(rate - limit)}
        history.append(_seen((float(rate), 1.0), excess, lr_scale=float(rate)))
    rates = [
        propose(SPACE, CELL, TrialSpec(), history, seed=(2, i), sampler=sampler).params["lr_scale"]
        for i in range(8)
    ]
    return sum(rate <= 1.0 for rate in rates) / len(rates)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2"])
def test_samplers_keep_to_the_limit(sampler: str) -> None:
    assert _shares(None, sampler) < 0.3, "without it the highest rates are best"
    assert _shares(1.0, sampler) > 0.6


def test_a_search_of_three_objectives_and_a_limit_finds_what_random_does_not(
    small_sweep: Any, make_agenda: Any
) -> None:
    """Data cost, and help one task and hurt the other; the limit asks for at least 0.3 of them."""

    def finish(job: TrialJob) -> None:
        recovery = job.spec.recovery
        data = recovery.data_fraction if recovery.scope == "joint" else 0.05
        rate = abs(math.log2((recovery.resolved_learning_rate or 2e-4) / 2e-4)) / 4
        found = _scores(tiny_counting=70 + 10 * data - 20 * rate, tiny_relation=70 - 10 * data)
        if job.origin == "reference":
            found = found.model_copy(update={"retention": None})
        record = TrialRecord(
            trial_id=job.trial_id,
            sweep=job.sweep,
            status="completed",
            origin=job.origin,
            spec=job.spec,
            seeds=job.spec.seeds,
            recovery=RecoveryReport(scope=recovery.scope, tflops=100 * data),
            evaluation=found,
            efficiency=EfficiencyReport(params=1, lm_params=1, weights_mib=1.0, tflops=1.0),
            provenance=Provenance(prunesweep="test"),
        )
        write_json(job.folder / "record.json", record)

    def share(**changes: Any) -> float:
        given = {"objectives": THREE, "limits": {"tiny_counting": 73.0}, "samples": 60}
        given |= {"choices": {"scope": ("joint",)}, "designed": (), "seed": 3}
        agenda, _ = make_agenda(small_sweep(**{**given, **changes}))
        jobs = [job for job in drain(agenda, finish) if job.origin == "sampler"][20:]
        return sum(job.spec.recovery.data_fraction >= 0.5 for job in jobs) / len(jobs)

    assert share(name="random", startup_samples=1000) < 0.5, "two of five fractions"
    assert share(name="free", limits={}) < 0.4, "two objectives of three are against much data"
    assert share() > 0.65


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("objectives=[latency_ms]", "measured when the search is over"),
        ("objectives=[retention,worst_tsk]", "did you mean 'worst_task'"),
        ("objectives=[tiny_colour]", "score of each task: tiny_attribute, tiny_counting"),
        ("objectives=[]", "at least one axis"),
        ("objectives=[retention,retention]", "each once"),
        ("limits.latency_ms=10", "limits: 'latency_ms' is measured when"),
        ("limits.weights_mib=.inf", "finite"),
    ],
)
def test_goals_that_cannot_be_are_refused(setting: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as error:
        load_sweep("quickstart", [setting])
    assert "\n" not in str(error.value)


def test_a_task_may_be_a_goal_if_the_trials_are_scored_on_it() -> None:
    own = ("trial.evaluation.tasks=[mme]", "objectives=[mme_perception,tflops]")
    assert [axis.name for axis in load_sweep("llava_7b_frontier", own).goals.objectives] == [
        "mme_perception",
        "tflops",
    ]
    with pytest.raises(BadInputError, match="no task"):
        load_sweep("llava_7b_frontier", ["trial.evaluation.tasks=[mme]", "objectives=[pope]"])


def test_recommend_and_candidates_keep_the_sweeps_limits(small_sweep: Any, tmp_path: Path) -> None:
    trials = [
        make_trial("heavy", 0.99, weights_mib=12.0, recovery_tflops=2.0),
        make_trial("light", 0.80, weights_mib=6.0, recovery_tflops=9.0),
        make_dense(),
    ]
    folder = write_sweep(tmp_path, trials, sweep="small")
    ledger = Ledger(tmp_path, "small")
    limited = small_sweep(limits={"weights_mib": 8.0})
    assert candidates(ledger, limited) == ["dense", "light"]
    assert candidates(ledger, small_sweep(limits={"weights_mib": 3.0})) == [
        "dense",
        "heavy",
        "light",
    ], "none keeps it"
    write_json(folder / "sweep.json", limited)
    command = ("recommend", "small", "--storage", tmp_path, "--json")
    for given, chosen in (([], "light"), (["--max", "weights_mib=13"], "heavy")):
        found = json.loads(invoke(*command, *given).stdout)
        assert found["trial"]["trial_id"] == chosen, "the option counts"
