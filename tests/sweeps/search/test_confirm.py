"""The confirm stage: who is repeated, with which seeds, once, whatever dies in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.agendas import drain, finish
from helpers.trials import make_dense, make_latency, make_trial, write_sweep

from sweeps.engine.run.runner import candidates
from sweeps.engine.search.agenda import WAIT
from sweeps.engine.search.fixed_points import confirmed, most_confirmations
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from trainables.common.files import read_json, write_json
from trainables.records import ClosingReport
from trainables.trial.jobs import LatencyJob, TrialJob

BASELINES = ({"terms": "ce"}, {"terms": "ce+l2"})


@pytest.fixture
def coefficients(small_sweep: Callable[..., SweepSpec]) -> Callable[..., SweepSpec]:
    """A function that makes a sweep of mixtures that confirms its two best; keywords change it."""

    def make(confirm: dict[str, Any] | None = None, **changes: Any) -> SweepSpec:
        settings = {"top": 2, "seeds": 3, "baselines": BASELINES, **(confirm or {})}
        plain: dict[str, Any] = {
            "trial": {"pruning": {"ratio": 0.5}, "recovery": {"scope": "joint"}},
            "space": "loss_coefficients",
            "strata": {"terms": ("ce", "ce+l2", "ce+kl")},
            "designed": ({"terms": "ce+kl"},),
            "priors": False,
            "samples": 6,
            "confirm": settings,
        }
        return small_sweep(**{**plain, **changes})

    return make


def answer(job: TrialJob) -> None:
    """Retention rises with the weight of the logits term; a seed moves it by up to 0.05."""
    noise = 0.05 * (job.spec.seeds.train % 2)
    finish(job, retention=0.5 + 0.3 * job.spec.recovery.loss.beta - noise)


def test_the_best_and_the_baselines_run_again_with_other_seeds(
    coefficients: Any, make_agenda: Any
) -> None:
    sweep = coefficients()
    agenda, ledger = make_agenda(sweep)
    jobs = drain(agenda, answer)
    searched = [job for job in jobs if job.origin not in ("reference", "confirm")]
    repeats = jobs[len(searched) + 1 :]
    assert all(job.origin == "confirm" for job in repeats), "they come last"

    best = sorted(searched, key=lambda job: -job.spec.recovery.loss.beta)[:2]
    baselines = [j for j in searched if j.spec.recovery.loss.terms == "ce"]
    baselines += [j for j in searched if j.spec.recovery.loss.normalised == (0.5, 0.0, 0.5)]
    expected = {job.spec.configuration for job in (*best, *baselines)}
    counts = Counter(job.spec.configuration for job in repeats)
    assert counts == dict.fromkeys(expected, 3)
    assert len(expected) == 4
    seeds = Counter((s.calibration, s.data, s.train) for s in (job.spec.seeds for job in repeats))
    assert seeds == {(n, n, n): 4 for n in (1, 2, 3)}
    assert [job.spec.seeds.train for job in repeats] == sorted(j.spec.seeds.train for j in repeats)
    assert len(repeats) == most_confirmations(sweep) == 12
    requests = ledger.requests()
    assert all(requests[j.trial_id].params for j in repeats if j.spec.recovery.loss.beta)


def test_baselines_are_designed_points_without_being_listed_twice(
    coefficients: Any, make_agenda: Any
) -> None:
    jobs = drain(make_agenda(coefficients(samples=0))[0], answer)
    designed = [job.spec.recovery.loss.terms for job in jobs if job.origin == "designed"]
    assert designed == ["ce+kl", "ce", "ce+l2"]


def test_a_baseline_among_the_best_is_repeated_once(coefficients: Any, make_agenda: Any) -> None:
    sweep = coefficients(samples=0, confirm={"top": 3})
    jobs = drain(make_agenda(sweep)[0], answer)
    assert sum(job.origin == "confirm" for job in jobs) == 9 < most_confirmations(sweep) == 15


def test_total_foresees_the_confirm_stage(coefficients: Any, make_agenda: Any) -> None:
    agenda, _ = make_agenda(coefficients())
    foreseen = agenda.total()
    assert foreseen == len(drain(agenda, answer)) == agenda.total()


def test_stopped_after_every_single_trial_it_comes_out_the_same(
    coefficients: Any, make_agenda: Any
) -> None:
    seen: list[TrialJob] = []
    while True:
        agenda, ledger = make_agenda(coefficients())
        item = agenda.next()
        if item is None:
            break
        answer(item[1])
        seen.append(item[1])
    assert len({job.trial_id for job in seen}) == len(seen) == len(ledger.requests())
    assert sum(job.origin == "confirm" for job in seen) == 12
    keys = [request.key for request in ledger.requests().values()]
    assert len(set(keys)) == len(keys)


def test_it_waits_for_the_search_and_then_runs_side_by_side(
    coefficients: Any, make_agenda: Any
) -> None:
    agenda, _ = make_agenda(coefficients(samples=0))
    jobs = [agenda.next() for _ in range(4)]  # dense and the three designed points
    assert agenda.next() == WAIT, "the best are not known while one of the search still runs"
    for job_id, job in jobs:
        answer(job)
        agenda.ended(job_id)
    first, second = agenda.next(), agenda.next()
    assert {first[1].origin, second[1].origin} == {"confirm"}
    assert first[1].trial_id != second[1].trial_id


def test_a_larger_budget_confirms_what_is_better_now(coefficients: Any, make_agenda: Any) -> None:
    drain(make_agenda(coefficients(samples=0))[0], answer)
    more = drain(make_agenda(coefficients(samples=12))[0], answer)
    assert [job.origin for job in more].count("sampler") == 12
    repeats = [job for job in more if job.origin == "confirm"]
    assert {job.spec.recovery.loss.logits for job in repeats} == {"kl"}
    assert min(job.spec.recovery.loss.beta for job in repeats) > 0.5
    assert drain(make_agenda(coefficients(samples=12))[0], answer) == []


@pytest.mark.parametrize("status", ["failed", "early_stopped"])
def test_what_did_not_complete_is_not_confirmed(
    coefficients: Any, make_agenda: Any, status: Any
) -> None:
    sweep = coefficients(samples=0, confirm={"top": 1, "baselines": ()})
    agenda, ledger = make_agenda(sweep)

    def fail_the_best(job: TrialJob) -> None:
        answer(job) if job.spec.recovery.loss.beta == 0 else finish(job, status)

    jobs = drain(agenda, fail_the_best)
    assert not [job for job in jobs if job.origin == "confirm"], "ce+kl was the only point"
    assert confirmed(sweep, ledger) == []


def test_repeats_run_to_their_end(coefficients: Any, make_agenda: Any) -> None:
    sweep = coefficients(samples=0, rungs={"fractions": (0.5,)})
    repeats = [j for j in drain(make_agenda(sweep)[0], answer) if j.origin == "confirm"]
    assert repeats
    assert all(job.spec.rungs == () for job in repeats)


def test_all_repeats_are_scored_on_the_report_split(tmp_path: Path, small_sweep: Any) -> None:
    trials = [
        make_dense(),
        *(make_trial(name, value) for name, value in (("best", 0.9), ("good", 0.8))),
        *(make_trial(f"best-{n}", 0.5, origin="confirm", seed=n) for n in (1, 2)),
        make_trial("best-3", origin="confirm", seed=3, status="failed"),
    ]
    write_sweep(tmp_path, trials, "small")
    chosen = candidates(Ledger(tmp_path, "small"), small_sweep(report_candidates=1))
    assert chosen == ["dense", "best", "best-1", "best-2"]


def test_every_designed_point_is_scored_where_the_sweep_says_so(
    tmp_path: Path, small_sweep: Any
) -> None:
    trials = [
        make_dense(),
        make_trial("best", 0.9, weights_mib=5.0, recovery_tflops=1.0, origin="sampler"),
        make_trial("good", 0.85, weights_mib=5.0, recovery_tflops=1.0, origin="sampler"),
        make_trial("poor", 0.2, weights_mib=9.0, recovery_tflops=9.0, origin="designed"),
        make_trial("gone", origin="designed", status="failed"),
    ]
    write_sweep(tmp_path, trials, "small")
    ledger = Ledger(tmp_path, "small")
    assert candidates(ledger, small_sweep(report_candidates=1)) == ["dense", "best"]
    whole = small_sweep(report_candidates=1, report_designed=True)
    assert candidates(ledger, whole) == ["dense", "poor", "best"]


def test_a_repeat_is_closed_without_a_latency_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is that of the trial it repeats, so measuring it again would tell nothing."""
    from trainables.trial import closing

    measured = make_latency(20.0)
    inputs = SimpleNamespace(
        dense=SimpleNamespace(weights_digest="w"), data=SimpleNamespace(digest="d")
    )
    trials = [make_trial("a", 0.9), make_trial("b", 0.9, origin="confirm", seed=1)]
    folder = write_sweep(tmp_path, trials) / "trials"
    for trial in trials:
        write_json(folder / trial.trial_id / "report_scores.json", trial.record.evaluation)
    records = {t.trial_id: t.record for t in trials}
    monkeypatch.setattr(closing, "_inputs", lambda path, store: (inputs, records[path.name]))
    monkeypatch.setattr(closing, "_quiet", lambda inputs, path, trained: {"latency": measured})
    closing.measure_quietly(
        LatencyJob(folders=(folder / "a", folder / "b"), store=tmp_path / "store", attempt="x")
    )
    reports = [read_json(folder / n / "report.json", ClosingReport) for n in ("a", "b")]
    assert [r.latency for r in reports] == [measured, None]
    assert [r.evaluation.retention for r in reports] == [0.9, 0.9]
