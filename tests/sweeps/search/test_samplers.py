"""What every sampler must do, the named ones and a user's own; and what bad ones are told."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.agendas import asked, drain, finish_by_mixture, open_agenda

from search_spaces.spaces import SPACES, Space
from search_spaces.suggesters import PointTrial
from sweeps.engine.search.agenda import WAIT
from sweeps.engine.search.observations import Observation, observe
from sweeps.engine.search.sampler import propose
from sweeps.engine.search.samplers import SAMPLERS, SamplerError, make_sampler
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Request
from sweeps.engine.spec.loading import BadInputError
from sweeps.engine.spec.sampler_names import SAMPLER_NAMES
from trainables.specs import TrialSpec

SPACE = SPACES["frontier"].restricted({"scope": ("joint", "projector")})
BASE, CELL = TrialSpec(), {"method": "layerwise", "ratio": 0.3}
STARTUP = 4
OWN = """
from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler


def mine(seed):
    return TPESampler(seed=seed, n_startup_trials=2, multivariate=True, constant_liar=True)


def generations(seed):
    return NSGAIISampler(population_size=4, seed=seed)


def late(seed):
    raise KeyError("no budget")


def nothing(seed):
    return "tpe"


class Raising(RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        raise ZeroDivisionError("by nothing")


class Wild(RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        found = super().sample_independent(study, trial, name, distribution)
        return 100 * found if name == "lr_scale" else found


class Strange(RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        return "all"


def raising(seed):
    return Raising(seed)


def wild(seed):
    return Wild(seed)


def strange(seed):
    return Strange(seed)
"""


@pytest.fixture(
    params=[
        "ehvi",
        pytest.param("gp", marks=pytest.mark.slow),
        "nsga2",
        "random",
        "tpe",
        "own.py:mine",
        "own.py:generations",
    ]
)
def sampler(request: pytest.FixtureRequest, own: Callable[[str], str]) -> str:
    """The name of a sampler, as a sweep gives it."""
    name: str = request.param
    return own(name.partition(":")[2]) if name.startswith("own") else name


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str], str]:
    """A function that names one of the functions of `OWN`, in a file."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    return lambda function: f"{tmp_path}/own.py:{function}"


def _seen(params: dict[str, Any], state: Any, *reached: Any, space: Space = SPACE) -> Observation:
    point = PointTrial(params)
    space.build(point, CELL, BASE)
    return Observation(CELL, point.params, point.distributions, state, reached or (None, None))


def _history(count: int, space: Space = SPACE) -> list[Observation]:
    """Random points: `joint` is better than `projector`, and a small rate than a large one."""
    found = []
    for index in range(count):
        params = propose(space, CELL, BASE, [], seed=(7, index), sampler="random").params
        better = 0.2 * (params["scope"] == "joint") - 0.05 * math.log2(params["lr_scale"])
        cost = (params["scope"] == "projector") * 2.0 + 5 * params["data_fraction"]
        found.append(_seen(params, "completed", 0.5 + better, cost, space=space))
    return found


def _ask(sampler: str, history: list[Observation], index: int = 0, seed: int = 1) -> dict[str, Any]:
    found = propose(
        SPACE, CELL, BASE, history, seed=(seed, index), sampler=sampler, startup=STARTUP
    )
    again = PointTrial(found.params)
    assert SPACE.build(again, CELL, BASE) == found.spec
    assert again.params == found.params, "exactly the factors that its choices ask for"
    return found.params


def test_every_name_has_its_sampler() -> None:
    assert tuple(SAMPLERS) == SAMPLER_NAMES


def test_trouble_is_no_trouble(sampler: str) -> None:
    trouble: list[tuple[Any, ...]] = [
        ("completed", math.nan, 1.0),
        ("completed", math.inf, 1.0),
        ("completed", None, 1.0),
        ("early_stopped", 0.4, 1.0),
        ("failed",),
        ("running",),
    ]
    history = _history(12)
    points = [o.params for o in history]
    nothing_else = [_seen(dict(p), *t) for p, t in zip(points, [*trouble, *trouble], strict=True)]
    _ask(sampler, nothing_else)
    _ask(sampler, [*history, *nothing_else])


def test_parallel_asks_are_distinct(sampler: str) -> None:
    running: list[Observation] = []
    history = _history(10)
    for index in range(4):
        running.append(_seen(_ask(sampler, [*history, *running], index), "running"))
    assert len({tuple(sorted(o.params.items())) for o in running}) == 4


def test_more_trials_run_than_are_told_and_none_has_ended(sampler: str) -> None:
    """A cluster's first minutes: 250 slots."""
    running = [_seen(o.params, "running") for o in _history(25)] * 10
    _ask(sampler, running)


def test_a_seed_repeats_and_another_differs(sampler: str) -> None:
    for history in ([], _history(10)):
        first = _ask(sampler, history)
        assert first == _ask(sampler, history)
        assert first != _ask(sampler, history, seed=2)
        assert first != _ask(sampler, history, index=1)


def test_conditional_factors_are_asked_for_where_they_are(sampler: str) -> None:
    """`_ask` checks each; after a history of both branches, both are proposed or one is."""
    history = _history(12)
    for index in range(3):
        params = _ask(sampler, history, index)
        assert ("lora_rank" in params) == (params["scope"] == "joint")
        assert ("log2_hidden" in params) == ("+l2" in params["terms"])


def test_what_is_learned_is_used(sampler: str) -> None:
    """`joint` is better and cheaper everywhere; a random sampler takes it half of the time."""
    history = _history(40)
    joint = sum(_ask(sampler, history, index)["scope"] == "joint" for index in range(8))
    assert joint >= (1 if sampler == "random" else 6)


@pytest.mark.parametrize(
    "today",
    [
        {"scope": ("joint",)},
        {"scope": ("joint", "projector"), "terms": ("ce", "ce+l2")},
        {"scope": ("joint", "projector"), "lora_rank": (16, 4, 256)},
        {"scope": ("projector",)},
        {"scope": ("joint", "projector"), "terms": ("ce",)},
    ],
    ids=["choice removed", "choices removed", "choice added", "factor gone", "two factors gone"],
)
def test_a_changed_space(sampler: str, today: dict[str, Any]) -> None:
    now = SPACES["frontier"].restricted(today)
    kept = []
    for observation in _history(16):
        spec = SPACE.build(PointTrial(observation.params), CELL, BASE)
        request = Request(
            trial_id="a", index=1, origin="sampler", key="", cell=CELL,
            params=dict(observation.params), spec=spec,
        )  # fmt: skip
        seen = observe(now, BASE, request)
        if seen is not None:
            standing = (observation.state, *observation.reached)
            kept.append(_seen(dict(seen.params), *standing, space=now))
    for index in range(2):
        found = propose(now, CELL, BASE, kept, seed=(1, index), sampler=sampler, startup=2).params
        assert all(found[name] in choices for name, choices in today.items() if name in found)


def test_resumed_equals_uninterrupted(
    sampler: str, small_sweep: Callable[..., SweepSpec], tmp_path: Path
) -> None:
    sweep = small_sweep(samples=10, sampler=sampler, startup_samples=STARTUP)
    agenda, whole = open_agenda(sweep, tmp_path / "whole")
    drain(agenda, finish_by_mixture)
    for _ in range(4):  # stopped after every four trials
        agenda, resumed = open_agenda(sweep, tmp_path / "resumed")
        for _ in range(4):
            if item := agenda.next():
                finish_by_mixture(item[1])
                agenda.ended(item[0])
    assert agenda.next() is None
    assert asked(resumed) == asked(whole)
    drawn = [r.drawn for r in whole.requests().values() if r.origin == "sampler"]
    assert len(drawn) == 10
    assert drawn[-1] == ("random" if sampler == "random" else "model")


def test_an_unknown_sampler_lists_the_names() -> None:
    with pytest.raises(ValueError, match=r"'tp' is not a known sampler.*gp, nsga2.*file\.py:func"):
        SweepSpec(name="a", question="?", sampler="tp")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:mine", r"there is no file nowhere\.py in "),
        ("absent", r"own\.py defines no function absent; it must hold `def absent\(seed\):`"),
        ("late", r"own\.py:late raised KeyError: 'no budget' \(.*own\.py, line 14\)"),
        ("nothing", r"own\.py:nothing returned 'tpe' \(.*own\.py, line 17\)"),
    ],
)
def test_what_is_no_sampler(own: Callable[[str], str], name: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        make_sampler(name if ":" in name else own(name), 0, 10)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raising", r"raising raised ZeroDivisionError: by nothing \(.*own\.py, line 23\)"),
        ("wild", r"wild \(.*own\.py, line 41\) proposed lr_scale=[0-9.]+, which is not in Float"),
        ("strange", r"strange raised ValueError: 'all' not in .'joint', .*own\.py, line 45\)"),
    ],
)
def test_a_sampler_that_fails_midway_ends_the_sweep_and_loses_nothing(
    own: Callable[[str], str],
    small_sweep: Callable[..., SweepSpec],
    tmp_path: Path,
    name: str,
    message: str,
) -> None:
    with pytest.raises(SamplerError, match=message):
        _ask(own(name), [])
    sweep = small_sweep(sampler=own(name))
    agenda, ledger = open_agenda(sweep, tmp_path / "storage")
    jobs = []
    while (item := agenda.next()) != WAIT and item is not None:
        jobs.append(item)
    fixed = len(jobs)
    assert fixed > 1
    assert agenda.next() == WAIT, "what runs may end"
    for job_id, job in jobs:
        finish_by_mixture(job)
        agenda.ended(job_id)
    assert agenda.next() is None
    assert agenda.sampler_error is not None
    assert len(ledger.records()) == len(ledger.requests()) == fixed
    mended = sweep.model_copy(update={"sampler": "tpe"})
    agenda, _ = open_agenda(mended, tmp_path / "storage")
    assert len(drain(agenda, finish_by_mixture)) == sweep.samples
