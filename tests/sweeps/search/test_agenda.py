"""What runs next: order, equal shares, idempotence, resumption, extension, the closing pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.agendas import by_cell, drain, finish

from sweeps.engine.search.agenda import WAIT
from sweeps.engine.search.keys import trial_key
from sweeps.engine.search.rerun import request_again
from sweeps.engine.spec import SweepSpec
from trainables.common.files import write_json
from trainables.models.families.registry import language_shape
from trainables.specs import LossSpec, ModelSpec, PruningSpec, RecoverySpec, TrialSpec
from trainables.trial.jobs import LatencyJob, ReportJob, TrialJob

SHAPE = language_shape(ModelSpec())


def test_order_and_equal_shares(small_sweep: Any, make_agenda: Any) -> None:
    agenda, _ = make_agenda(small_sweep())
    expected = agenda.total()
    jobs = drain(agenda)
    origins = [job.origin for job in jobs]
    assert origins == sorted(origins, key=["reference", "designed", "prior", "sampler"].index)
    assert jobs[0].trial_id == "dense"
    assert jobs[0].spec.pruning.ratio == 0
    assert set(by_cell(jobs, "sampler").values()) == {2}
    assert len(by_cell(jobs, "sampler")) == 4
    assert len(jobs) == expected


def test_the_same_command_again_does_nothing(small_sweep: Any, make_agenda: Any) -> None:
    first, _ = make_agenda(small_sweep())
    assert drain(first)
    again, _ = make_agenda(small_sweep())
    assert drain(again) == []


def test_a_larger_budget_extends(small_sweep: Any, make_agenda: Any) -> None:
    drain(make_agenda(small_sweep(samples=4))[0])
    more = drain(make_agenda(small_sweep(samples=8))[0])
    assert [job.origin for job in more] == ["sampler"] * 4
    fewer = drain(make_agenda(small_sweep(samples=2))[0])
    assert fewer == []


def test_a_ledger_that_cannot_be_written_ends_the_sweep(small_sweep: Any, make_agenda: Any) -> None:
    """What runs goes on to its end; nothing new is asked for, and nothing is raised into Tune."""
    agenda, ledger = make_agenda(small_sweep())
    job_id, _ = agenda.next()
    ledger.trials.rename(ledger.trials.with_name("away"))
    ledger.trials.touch()  # as on a full disk, each write raises
    assert agenda.next() == WAIT
    assert isinstance(agenda.storage_error, OSError)
    agenda.ended(job_id, failed=True)
    assert agenda.next() is None


def test_an_interrupted_trial_comes_first_under_its_own_id(
    small_sweep: Any, make_agenda: Any
) -> None:
    agenda, _ = make_agenda(small_sweep())
    job_id, job = agenda.next()
    finish(job)
    agenda.ended(job_id)
    _, lost = agenda.next()
    again, _ = make_agenda(small_sweep())
    _, resumed = again.next()
    assert resumed == lost


def test_every_trial_runs_once_whatever_dies(small_sweep: Any, make_agenda: Any) -> None:
    """Stop after every single trial, as a kill would, and start over: nothing twice or lost."""
    seen: list[str] = []
    while True:
        agenda, ledger = make_agenda(small_sweep())
        item = agenda.next()
        if item is None:
            break
        finish(item[1])
        seen.append(item[1].trial_id)
    assert len(seen) == len(set(seen)) == len(ledger.requests())
    keys = [request.key for request in ledger.requests().values()]
    assert len(set(keys)) == len(keys)


def test_eight_parallel_asks_give_eight_distinct_trials(small_sweep: Any, make_agenda: Any) -> None:
    sweep = small_sweep(designed=(), priors=False, strata={"ratio": (0.3,)}, samples=8)
    agenda, _ = make_agenda(sweep)
    job_id, dense = agenda.next()
    finish(dense)
    agenda.ended(job_id)
    jobs = [agenda.next()[1] for _ in range(8)]
    assert len({trial_key(job.spec, SHAPE) for job in jobs}) == 8
    assert agenda.next() == WAIT


def test_failed_and_early_stopped_trials_count_once_and_the_sweep_goes_on(
    small_sweep: Any, make_agenda: Any
) -> None:
    outcomes = iter(["failed", "early_stopped"] * 50)

    def answer(job: TrialJob) -> None:
        finish(job, "completed" if job.origin == "reference" else next(outcomes))  # type: ignore[arg-type]

    agenda, _ = make_agenda(small_sweep())
    total = agenda.total()
    assert len(drain(agenda, answer)) == total


def test_nothing_is_started_once_the_dense_base_has_failed(
    small_sweep: Any, make_agenda: Any
) -> None:
    agenda, ledger = make_agenda(small_sweep())
    base_id, base = agenda.next()
    beside_id, _ = agenda.next()
    finish(base, "failed")
    agenda.ended(base_id)
    assert agenda.next() == "wait"
    agenda.ended(beside_id)
    assert agenda.next() is None
    again, _ = make_agenda(small_sweep())
    assert again.next() is None
    request_again(ledger, base.trial_id)
    jobs = drain(make_agenda(small_sweep())[0])
    assert {job.origin for job in jobs} == {"reference", "designed", "prior", "sampler"}


def test_a_space_with_nothing_new_left_ends(small_sweep: Any, make_agenda: Any) -> None:
    sweep = small_sweep(
        trial={"model": {"path": "llava-hf/llava-1.5-7b-hf"}},  # the study's rules need 32 layers
        space="published_grid",
        strata={"ratio": (0.3,), "method": ("layerwise",), "scope": ("none",)},
        designed=(),
        priors=False,
        samples=5,
    )
    jobs = drain(make_agenda(sweep)[0])
    assert [job.origin for job in jobs] == ["reference", "sampler"]


def test_the_closing_pass_scores_candidates_then_measures_alone(
    small_sweep: Any, make_agenda: Any
) -> None:
    sweep = small_sweep(samples=0, priors=False)
    agenda, _ = make_agenda(sweep, lambda: ["dense", "001-layerwise-30-none"])
    for _ in range(2):
        job_id, job = agenda.next()
        finish(job)
        agenda.ended(job_id)
    first, second = agenda.next(), agenda.next()
    assert [item[1].kind for item in (first, second)] == ["report", "report"]
    assert agenda.next() == WAIT
    for job_id, job in (first, second):
        assert isinstance(job, ReportJob)
        write_json(job.folder / "report_scores.json", {})
        agenda.ended(job_id)
    job_id, job = agenda.next()
    assert isinstance(job, LatencyJob)
    assert [folder.name for folder in job.folders] == ["dense", "001-layerwise-30-none"]
    assert agenda.next() == WAIT
    agenda.ended(job_id, failed=True)
    assert agenda.next() is None, "a failed closing job is not tried again in the same run"


def test_replicates_differ_in_all_three_seeds(small_sweep: Any, make_agenda: Any) -> None:
    jobs = drain(make_agenda(small_sweep(replicates=3, samples=0, priors=False))[0])
    seeds = [job.spec.seeds for job in jobs if job.origin == "designed"]
    assert [(s.calibration, s.data, s.train) for s in seeds] == [(0, 0, 0), (1, 1, 1), (2, 2, 2)]


def test_specs_that_resolve_alike_are_one_trial() -> None:
    base = TrialSpec(pruning=PruningSpec(method="layerwise", ratio=0.30))
    near = base.model_copy(update={"pruning": PruningSpec(method="layerwise", ratio=0.31)})
    far = base.model_copy(update={"pruning": PruningSpec(method="layerwise", ratio=0.60)})
    assert trial_key(base, SHAPE) == trial_key(near, SHAPE) != trial_key(far, SHAPE)

    def joint(**settings: Any) -> str:
        recovery = RecoverySpec(scope="joint", **settings)
        return trial_key(base.model_copy(update={"recovery": recovery}), SHAPE)

    assert joint() == joint(learning_rate=2e-4) == joint(checkpoint_every_steps=5)
    assert joint(loss=LossSpec(logits="kl")) == joint(), "an idle term's settings do not count"
    assert joint(loss=LossSpec(beta=1, logits="kl")) != joint(loss=LossSpec(beta=1))
    assert joint(lora_rank=8) != joint()


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"method": "layerwise", "ratio": 0.31, "scope": "none"}, "no cell"),
        ({"method": "layerwise", "ratio": 0.3, "scope": "non"}, "outside of the space"),
        ({"method": "layerwise", "ratio": 0.3, "scope": "none", "terms": "ce"}, "does not use"),
    ],
)
def test_a_designed_point_outside_of_the_space_is_refused(
    small_sweep: Callable[..., SweepSpec], make_agenda: Any, point: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        drain(make_agenda(small_sweep(designed=(point,)))[0])


QUANTIZED = {
    "space": "pruning_x_quantization",
    "strata": {"ratio": (0.0, 0.3), "quantization": ("none", "nf4")},
    "designed": tuple(
        {"method": "layerwise", "ratio": ratio, "scope": "none", "quantization": quantization}
        for ratio in (0.0, 0.3)
        for quantization in ("none", "nf4")
    ),
    "samples": 0,
    "priors": False,
}


def test_the_quantized_dense_model_is_a_trial_and_the_unquantized_one_is_the_reference(
    small_sweep: Any, make_agenda: Any
) -> None:
    quantized = TrialSpec(quantization="llm_int8")  # the reference is not, whatever the base says
    agenda, _ = make_agenda(small_sweep(**QUANTIZED, trial=quantized))
    assert agenda.total() == 4
    jobs = drain(agenda)
    assert [(job.trial_id, job.spec.quantization) for job in jobs] == [
        ("dense", "none"),
        ("001-unpruned-none-nf4", "nf4"),
        ("002-layerwise-30-none", "none"),
        ("003-layerwise-30-none-nf4", "nf4"),
    ]
    assert jobs[1].origin == "designed"


def test_recoveries_are_kept_where_trials_may_differ_in_what_comes_after(
    small_sweep: Any, make_agenda: Any
) -> None:
    (first, *_) = drain(make_agenda(small_sweep(**QUANTIZED, name="quantized"))[0])
    assert first.caches.recovery
    (first, *_) = drain(make_agenda(small_sweep(samples=0))[0])
    assert not first.caches.recovery


def test_moved_copies_are_used_by_what_was_asked_for_before(
    small_sweep: Any, make_agenda: Any, tmp_path: Path
) -> None:
    def sweep(folder: str) -> SweepSpec:
        return small_sweep(trial={"evaluation": {"data_folder": folder}})

    agenda, _ = make_agenda(sweep("/old"))
    _, lost = agenda.next()
    moved, _ = make_agenda(sweep(str(tmp_path)))
    jobs = drain(moved)
    assert jobs[0].trial_id == lost.trial_id == "dense"
    assert {job.spec.evaluation.data_folder for job in jobs} == {str(tmp_path)}
    assert jobs[0].spec.configuration == lost.spec.configuration
    closing, _ = make_agenda(sweep(str(tmp_path)), lambda: ["dense"])
    _, job = closing.next()
    assert isinstance(job, ReportJob)
    assert job.data_folder == str(tmp_path)


def test_another_dense_reference_gets_a_folder_of_its_own(
    small_sweep: Any, make_agenda: Any
) -> None:
    drain(make_agenda(small_sweep(samples=0))[0])
    other = small_sweep(samples=0, trial={"evaluation": {"search_limit": 5}})
    jobs = drain(make_agenda(other)[0])
    assert jobs[0].origin == "reference"
    assert jobs[0].trial_id not in ("dense", jobs[1].trial_id)
    assert jobs[0].trial_id.endswith("-dense")
