"""Sweeps of up to a thousand trials without training: distinct, even, repeatable, resumable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.agendas import asked, drain, finish_by_mixture, open_agenda

from sweeps.engine.search import standing
from sweeps.engine.search.agenda import WAIT, Agenda
from sweeps.engine.search.keys import trial_key
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import load_sweep
from trainables.models.families.registry import language_shape

ASKED = 1000
Open = Callable[[SweepSpec, str], tuple[Agenda, Ledger]]


@pytest.fixture
def open_in(tmp_path: Path) -> Open:
    """A function that opens an agenda of a sweep over the ledger in a folder of that name."""

    return lambda sweep, folder: open_agenda(sweep, tmp_path / folder)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "startup"), [("quickstart", 9), ("llava_7b_frontier", 5)])
def test_a_thousand_samples_are_a_thousand_trials(name: str, startup: int, open_in: Open) -> None:
    sweep = load_sweep(name, [f"samples={ASKED}"])
    agenda, ledger = open_in(sweep, "a")
    jobs = drain(agenda, finish_by_mixture)
    shape = language_shape(sweep.trial.model)
    assert len({trial_key(job.spec, shape) for job in jobs}) == len(jobs)
    requests = ledger.requests().values()
    sampled = [r for r in requests if r.origin == "sampler"]
    assert len(sampled) == ASKED
    per_cell = Counter(tuple(r.cell.items()) for r in sampled)
    assert set(per_cell.values()) == {ASKED // 8}
    unrecovered = Counter(
        tuple(r.cell.items()) for r in requests if r.spec.recovery.scope == "none" and r.cell
    )
    assert len(unrecovered) <= 8
    assert set(unrecovered.values()) == {1}, "a point without free factors runs once per cell"
    drawn = Counter(r.drawn for r in sampled)
    assert drawn["startup"] == startup
    assert drawn["model"] + drawn["rest"] == ASKED - startup
    assert drawn["rest"] <= ASKED / 100, "the model has hardly run dry"


def test_the_shipped_budget_hears_its_sampler(open_in: Open) -> None:
    """40 samples in 8 cells after 24 designed points: all of them were random once."""
    agenda, ledger = open_in(load_sweep("llava_7b_frontier"), "a")
    drain(agenda, finish_by_mixture)
    drawn = Counter(r.drawn for r in ledger.requests().values() if r.origin == "sampler")
    assert drawn == {"model": 40}


def test_start_up_counts_the_sweep(open_in: Open) -> None:
    changes = ["designed=[]", "priors=false", "samples=24", "startup_samples=10"]
    agenda, ledger = open_in(load_sweep("quickstart", changes), "a")
    drain(agenda, finish_by_mixture)
    drawn = [r.drawn for r in ledger.requests().values() if r.origin == "sampler"]
    assert drawn[:10] == ["startup"] * 10
    # An unrecovered trial leaves the choices of its cell, and does not count there.
    assert drawn.count("startup") <= 10 + 8
    assert drawn[-4:] == ["model"] * 4


def test_a_seed_repeats_and_another_differs(open_in: Open) -> None:
    found = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        sweep = load_sweep("quickstart", ["samples=24", f"seed={seed}"])
        agenda, ledger = open_in(sweep, folder)
        drain(agenda, finish_by_mixture)
        found.append(asked(ledger))
    first, again, other = found
    assert first == again
    assert first != other


def test_resuming_proposes_what_going_on_would_have(open_in: Open) -> None:
    sweep = load_sweep("quickstart", ["samples=40"])
    agenda, whole = open_in(sweep, "whole")
    drain(agenda, finish_by_mixture)
    for _ in range(8):  # stopped after every seven trials
        agenda, resumed = open_in(sweep, "resumed")
        for _ in range(7):
            if item := agenda.next():
                finish_by_mixture(item[1])
                agenda.ended(item[0])
    assert agenda.next() is None
    assert asked(resumed) == asked(whole)
    started = open_in(sweep.model_copy(update={"samples": 20}), "short")
    drain(started[0], finish_by_mixture)
    drain(open_in(sweep, "short")[0], finish_by_mixture)
    assert asked(started[1]) == asked(whole), "a larger budget goes on where the smaller ended"


def test_a_hand_out_reads_nothing_again(open_in: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither requests nor points are read or built anew: that made a long sweep quadratic."""
    agenda, _ = open_in(load_sweep("quickstart", ["samples=60"]), "a")
    for _ in range(12):
        job_id, job = agenda.next()
        finish_by_mixture(job)
        agenda.ended(job_id)
    read: list[str] = []
    requests, observe = Ledger.requests, standing.observe
    monkeypatch.setattr(Ledger, "requests", lambda self: read.append("all") or requests(self))
    monkeypatch.setattr(standing, "observe", lambda *a: read.append("one") or observe(*a))
    jobs = drain(agenda, finish_by_mixture)
    assert Counter(read)["one"] == len(jobs) == 60
    before_the_end = read[: read.index("one") + 60]
    assert "all" not in before_the_end


def test_parallel_asks_are_distinct_and_even(open_in: Open) -> None:
    """64 slots that never report: all of them differ, whatever little is known."""
    sweep = load_sweep("quickstart", ["samples=64"])
    agenda, ledger = open_in(sweep, "a")
    jobs = []
    while (item := agenda.next()) != WAIT:
        jobs.append(item[1])
        if item[1].origin in ("reference", "designed"):
            finish_by_mixture(item[1])
            agenda.ended(item[0])
    keys = {request.key for request in ledger.requests().values()}
    assert len(keys) == len(jobs) == 1 + 8 + 3 + 64
    cells = Counter(tuple(r.cell.items()) for r in ledger.requests().values() if r.drawn)
    assert set(cells.values()) == {8}


def test_the_sampler_learns_from_the_most_telling_of_a_long_sweep(
    open_in: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small number stands for 500; what resumes after it forgot asks as one that went on."""
    monkeypatch.setattr(standing, "KEPT", 12)
    sweep = load_sweep("quickstart", ["samples=60", "sampler=tpe"])
    agenda, whole = open_in(sweep, "whole")
    drain(agenda, finish_by_mixture)
    stands = agenda._standing
    assert 12 <= len(stands.telling()) < 24
    assert len(stands.observations()) == 8 + 3 + 60
    best = max(stands.observations(), key=lambda o: o.values or (0.0,))
    assert best in stands.telling()
    short = sweep.model_copy(update={"samples": 40})
    drain(open_in(short, "resumed")[0], finish_by_mixture)
    again, resumed = open_in(sweep, "resumed")
    drain(again, finish_by_mixture)
    assert asked(resumed) == asked(whole)
