"""What is left of a cell: counted over spaces whose points are known, by hand and by search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.agendas import drain, finish
from helpers.command_line import invoke

from search_spaces.factors import STUDY_TERMS
from search_spaces.spaces import SPACES, Space
from sweeps.engine.search.points_left import PointsLeft
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.loading import load_sweep
from sweeps.engine.spec.used_up import used_up_lines
from trainables.common.files import write_json
from trainables.records import REPORT, ClosingReport
from trainables.specs import TrialSpec

CELL = {"method": "layerwise", "ratio": 0.3}
FEW = {"terms": STUDY_TERMS[:5], "data_fraction": (0.05,)}


def left_of(space: Space, known: set[str], cell: Any = CELL) -> PointsLeft:
    """Keys are the points written out."""

    def key(spec: TrialSpec) -> str:
        loss = spec.recovery.loss.terms if spec.recovery.scope != "none" else "-"
        return f"{spec.recovery.scope} {loss} {spec.quantization} {spec.pruning.importance.samples}"

    return PointsLeft(space, cell, TrialSpec(), key, known)


def test_a_discrete_cell_is_used_up_when_its_last_point_is_known() -> None:
    known: set[str] = set()
    left = left_of(SPACES["published_grid"].restricted(FEW), known)
    assert len(left.points) == 11, "none, and two scopes of five mixtures"
    rng = np.random.default_rng(0)
    for count in range(11):
        assert not left.used_up(), count
        way = left.way(rng)
        loss = f" {way['terms']} none 64" if "terms" in way else " - none 64"
        assert way["scope"] + loss in left.points - known, "ways lead to what is new only"
        known.add(way["scope"] + loss)
    assert left.used_up()
    assert known == left.points


def test_a_cell_with_a_continuous_factor_never_is() -> None:
    known = {"none - none 64"}
    left = left_of(SPACES["frontier"], known)
    assert left.points == known
    assert not left.used_up()
    assert left.closed() == {"scope": {"none"}}
    assert left.dead_end({"scope": "none"}) == ("scope", "none")
    assert left.dead_end({"scope": "joint", "terms": "ce", "data_fraction": 0.1}) is None


def test_a_branch_closes_with_its_last_point() -> None:
    space = SPACES["pruning_x_quantization"].restricted({"quantization": ("none", "nf4")})
    known = {"none - none 64"}
    left = left_of(space, known)
    point = {"scope": "none", "quantization": "none"}
    assert left.closed() == {}
    assert left.dead_end(point) == ("quantization", "none")
    known.add("none - nf4 64")
    assert left.closed() == {"scope": {"none"}}
    assert left.dead_end(point) == ("scope", "none")


GRID = {
    "trial": {"model": {"path": "llava-hf/llava-1.5-7b-hf"}},  # the study's rules need 32 layers
    "space": "published_grid",
    "choices": FEW,
    "strata": {"ratio": (0.3, 0.6), "method": ("layerwise",)},
    "designed": ({"method": "layerwise", "ratio": 0.3, "scope": "none"},),
    "priors": False,
}


def test_a_discrete_space_is_tried_to_its_last_point_and_that_is_said(
    small_sweep: Any, make_agenda: Any
) -> None:
    agenda, ledger = make_agenda(small_sweep(**GRID, samples=30))
    jobs = drain(agenda)
    assert len(jobs) == 1 + 22
    assert len({(j.spec.pruning.ratio, *_point(j)) for j in jobs}) == 23
    said = " ".join(used_up_lines(30, ledger))
    assert "Nothing is left to try in 2 of 2 cells" in said
    assert "ratio=0.3 method=layerwise (all 11 points are known)" in said
    assert "So 21 of the 30 samples asked for could be trials" in said
    told = invoke("status", "small", "--storage", ledger.storage).stdout
    assert "So 21 of the 30 samples" in told
    drain(make_agenda(small_sweep(**GRID, samples=21))[0])
    assert "could be trials" not in " ".join(used_up_lines(21, ledger)), "that many are"


def test_the_share_of_a_used_up_cell_goes_to_the_others(small_sweep: Any, make_agenda: Any) -> None:
    strata = {"ratio": (0.3,), "method": ("layerwise",), "scope": ("none", "joint")}
    agenda, ledger = make_agenda(small_sweep(**{**GRID, "strata": strata}, samples=4))
    jobs = drain(agenda)
    assert [job.spec.recovery.scope for job in jobs if job.origin == "sampler"] == ["joint"] * 4
    said = used_up_lines(4, ledger)
    assert said[1:] == ["Their share of the samples went to the other cells."]
    more: SweepSpec = small_sweep(**{**GRID, "strata": strata, "samples": 0})
    drain(make_agenda(more)[0])
    assert used_up_lines(0, ledger) == [], "nothing was asked for"


def test_factors_that_round_to_few_values_end_a_cell_too(
    small_sweep: Any, make_agenda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget of one step, times up to four: one to four steps."""
    monkeypatch.setattr("sweeps.engine.search.choosing.DRAWS", 60)
    sweep = small_sweep(
        trial={"recovery": {"budget": {"steps": 1}}},
        space="budgets",
        strata={},
        designed=(),
        priors=False,
        samples=9,
    )
    agenda, ledger = make_agenda(sweep)
    steps = [j.spec.recovery.budget.steps for j in drain(agenda, finish) if j.origin == "sampler"]
    assert sorted(s for s in steps if s) == [1, 2, 3, 4]
    assert "rounded to few values" in used_up_lines(9, ledger)[0]


@pytest.fixture(autouse=True)
def budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A space of the budget alone, beside the shipped ones."""
    from search_spaces import factors

    def build(trial: Any, cell: Any, base: TrialSpec) -> TrialSpec:
        recovery = {**dict(base.recovery), "budget": factors.budget(trial, base.recovery.budget)}
        return TrialSpec.model_validate({**dict(base), "recovery": {**recovery, "scope": "joint"}})

    monkeypatch.setitem(SPACES, "budgets", Space("the budget", build, ()))


def _point(job: Any) -> tuple[Any, ...]:
    recovery = job.spec.recovery
    return recovery.scope, recovery.loss.terms, recovery.loss.normalised


SWEEP = """
from sweeps.engine.spec import SweepSpec
from trainables.specs import RecoverySpec, TrialSpec

sweep = SweepSpec(
    name="draws", question="how many?", space="calibration", samples=9, priors=False,
    trial=TrialSpec(recovery=RecoverySpec(scope="none")), strata={"ratio": (0.3,)},
    choices={"calibration_samples": (16, 32), "calibration_seed": (0, 1, 2)},
)
"""


@pytest.mark.slow
def test_the_end_of_a_run_says_it(make_agenda: Any, tmp_path: Path) -> None:
    """All trials and their closing reports are there, so the run starts nothing."""
    file = tmp_path / "draws.py"
    file.write_text(SWEEP, encoding="utf-8")
    agenda, ledger = make_agenda(load_sweep(str(file)))
    drain(agenda)
    for name, record in ledger.records().items():
        scores = record.evaluation.model_copy(update={"split": "report"})
        report = ClosingReport(trial_id=name, evaluation=scores, provenance=record.provenance)
        write_json(ledger.trials / name / REPORT, report)
    result = invoke("run", file, "--storage", ledger.storage)
    assert "0 jobs in this run" in result.stdout
    assert "Nothing is left to try in 1 of 1 cells: ratio=0.3 (all 6 points are" in result.stdout
    assert "So 6 of the 9 samples asked for could be trials" in result.stdout
