"""Cells that get sampled trials: within limits that a plan knows, sizes as strata, no repeats."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers.agendas import drain
from helpers.command_line import invoke

from sweeps.engine.plan.preflight import check_sweep
from sweeps.engine.search.cells import cells_of
from sweeps.engine.spec.loading import BadInputError, load_sweep
from sweeps.engine.spec.unpruned_parts import target_of, unpruned_of
from sweeps.engine.spec.used_up import used_up_lines
from trainables.models.families.registry import language_shape
from trainables.pruning.planning.sizes import model_size

SIZES = {"method": ("layerwise", "widthwise"), "weights_mib": (4.0, 6.0)}
DENSE = {"designed": (), "priors": False}


def _mib(spec: Any) -> float:
    """Computed from the plan, as `prunesweep plan` prints it."""
    shape = language_shape(spec.model)
    return model_size(shape, target_of(spec, shape).widths, unpruned_of(spec)).weights_mib


def test_a_size_as_a_stratum_is_at_most_that_much_in_every_trial(
    small_sweep: Any, make_agenda: Any
) -> None:
    agenda, _ = make_agenda(small_sweep(strata=SIZES, samples=12, **DENSE))
    jobs = [job for job in drain(agenda) if job.origin == "sampler"]
    counts: dict[Any, int] = {}
    for job in jobs:
        size = job.spec.pruning.size.weights_mib
        assert job.spec.pruning.ratio == 0.0
        assert size * 0.85 < _mib(job.spec) <= size, "a layer is 0.6 MiB"
        counts[job.spec.pruning.method, size] = counts.get((job.spec.pruning.method, size), 0) + 1
    assert list(counts.values()) == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("size", "few", "many"),
    [("params", 900_000, 1_500_000), ("tflops", 1.5e-4, 2e-4), ("memory_mib", 6.0, 7.5)],
)
def test_other_sizes_are_strata_too(small_sweep: Any, size: str, few: Any, many: Any) -> None:
    sweep = small_sweep(strata={"method": ("widthwise",), size: (few, many)}, **DENSE)
    shape = check_sweep(sweep, to_run=False)
    assert len(cells_of(sweep, shape).open) == 2


def test_a_cell_beyond_a_limit_gets_no_sampled_trial_and_no_prior_and_that_is_said(
    small_sweep: Any, make_agenda: Any
) -> None:
    designed = ({"method": "layerwise", "ratio": 0.3, "scope": "none"},)
    sweep = small_sweep(limits={"weights_mib": 5.0}, designed=designed, samples=6, priors=True)
    agenda, ledger = make_agenda(sweep)
    jobs = drain(agenda)
    heavy = [job for job in jobs if job.origin != "reference" and _mib(job.spec) > 5.0]
    assert [job.origin for job in heavy] == ["designed"], "what is designed runs all the same"
    assert {job.spec.pruning.ratio for job in jobs if job.origin == "prior"} == {0.6}
    sampled = [job.spec.pruning for job in jobs if job.origin == "sampler"]
    assert len(sampled) == 6
    assert {(p.method, p.ratio) for p in sampled} == {("layerwise", 0.6), ("widthwise", 0.6)}
    said = used_up_lines(6, ledger)
    assert said[0].startswith("Nothing is left to try in 2 of 4 cells: method=layerwise ratio=0.3 ")
    assert "but limits.weights_mib=5)" in said[0]
    told = invoke("status", "small", "--storage", ledger.storage).stdout
    assert "but limits.weights_mib=5)" in " ".join(told.split())


def test_where_the_size_is_searched_only_trials_within_the_limit_are_asked_for(
    small_sweep: Any, make_agenda: Any
) -> None:
    changes = {"strata": {"method": ("layerwise",)}, "choices": {"ratio": (0.15, 0.3, 0.6)}}
    agenda, _ = make_agenda(small_sweep(limits={"weights_mib": 5.6}, **changes, **DENSE))
    jobs = [job for job in drain(agenda) if job.origin == "sampler"]
    assert len(jobs) == 8
    assert max(_mib(job.spec) for job in jobs) <= 5.6


def test_a_quantized_student_may_be_smaller_than_its_plan(small_sweep: Any) -> None:
    strata = {"method": ("layerwise",), "ratio": (0.3,), "quantization": ("none", "nf4")}
    changes = {"space": "pruning_x_quantization", "strata": strata, **DENSE}
    sweep = small_sweep(limits={"weights_mib": 5.0}, **changes)
    found = cells_of(sweep, language_shape(sweep.trial.model))
    assert [cell["quantization"] for cell in found.open] == ["nf4"]
    assert [cell.cell["quantization"] for cell in found.closed] == ["none"]


def test_limits_that_no_cell_can_keep_are_refused_with_what_would_do(small_sweep: Any) -> None:
    with pytest.raises(BadInputError, match="no cell can keep the limits") as error:
        check_sweep(small_sweep(limits={"weights_mib": 2.0}), to_run=False)
    said = str(error.value)
    assert "\n" not in said
    assert "of 4, method=widthwise ratio=0.6: weights_mib is 3.4" in said
    bound = float(said.partition("weights_mib is ")[2].partition(",")[0])
    check_sweep(small_sweep(limits={"weights_mib": bound}), to_run=False)
    invoke("plan", "quickstart", "--set", "limits.weights_mib=1", code=2)


def test_cells_of_one_plan_are_one_cell(small_sweep: Any, make_agenda: Any) -> None:
    """0.30 and 0.31 take the same layers, but not the same widths."""
    strata = {"method": ("layerwise", "widthwise"), "ratio": (0.3, 0.31)}
    agenda, ledger = make_agenda(small_sweep(strata=strata, samples=9, **DENSE))
    jobs = [job.spec.pruning for job in drain(agenda) if job.origin == "sampler"]
    counts = [sum(p.method == method for p in jobs) for method in ("layerwise", "widthwise")]
    assert counts == [3, 6]
    said = used_up_lines(9, ledger)[0]
    assert "method=layerwise ratio=0.31 (it has the plans of method=layerwise ratio=0.3)" in said
    searched = small_sweep(strata={"ratio": (0.3, 0.31)}, **DENSE)
    cells = cells_of(searched, language_shape(searched.trial.model))
    assert len(cells.open) == 2, "widthwise, which is searched, tells them apart"


def test_a_size_in_the_trial_makes_all_ratios_one_cell(small_sweep: Any) -> None:
    trial = {"pruning": {"size": {"weights_mib": 5.0}}}
    sweep = small_sweep(trial=trial, **DENSE)
    assert len(cells_of(sweep, language_shape(sweep.trial.model)).open) == 2


def test_plan_says_what_each_size_comes_to_and_which_cells_are_closed() -> None:
    command = ["plan", "quickstart", "--set", "designed=[]", "--set", "limits.weights_mib=5"]
    command += ["--set", "strata={method: [layerwise, widthwise], weights_mib: [4, 6]}"]
    said = " ".join(invoke(*command).stdout.split())
    assert "No trial is sampled in method=layerwise weights_mib=6 (weights_mib is 5.52" in said
    found = json.loads(invoke(*command, "--json").stdout)
    sizes = {(row["method"], row["amount"]): row["weights_mib"] for row in found["sizes"]}
    assert len(sizes) == 4
    assert all(mib <= float(amount.removesuffix("mib")) for (_, amount), mib in sizes.items())
    assert [cell["cell"]["weights_mib"] for cell in found["closed"]] == [6, 6]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("strata={ratio: [0.3], weights_mib: [4]}", "strata name ratio and weights_mib"),
        ("strata={params: [900000], weights_mib: [4]}", "strata name params and weights_mib"),
        ("choices={weights_mib: [4]}", "a size is not searched"),
        ("strata={params: [900000], memory_mib: [4]}", "strata name params and memory_mib"),
        ("strata={latency_ms: [4]}", "latency_ms"),
    ],
)
def test_sizes_that_cannot_be_strata_are_refused(setting: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as error:
        load_sweep("quickstart", ["designed=[]", setting])
    assert "\n" not in str(error.value)
