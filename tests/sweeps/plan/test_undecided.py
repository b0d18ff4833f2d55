"""The missing trials of a finding as a sweep: it plans, and once it has run nothing is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.ledgers import old_quickstart
from helpers.trials import make_trial

from analysis.findings.report import find_findings
from analysis.findings.texts import missing_trials, wide_answers
from analysis.load import Trial, load_trials
from sweeps.engine.plan.undecided import MISSING, missing_sweep, wider_sweep, write_sweep
from sweeps.engine.search.fixed_points import resolve_point
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request
from sweeps.engine.spec.loading import load_sweep, shipped_sweeps
from trainables.common.files import write_json
from trainables.records import RECORD, REQUEST, SWEEP


def run(folder: Path, sweep: SweepSpec, first: int = 0) -> None:
    """Write every designed trial of a sweep as if it had run."""
    for index, point in enumerate(sweep.designed, first):
        cell, params, spec = resolve_point(sweep, point)
        name = f"{index:03}"
        made = make_trial(name, 0.9, sweep=folder.name, ratio=spec.pruning.ratio).record
        assert made.pruning is not None
        pruned = made.pruning.model_copy(update={"method": spec.pruning.method})
        request = Request(
            trial_id=name, index=index, origin="designed", key=name, cell=cell, params=params,
            spec=spec,
        )  # fmt: skip
        home = folder / "trials" / name
        home.mkdir(parents=True)
        write_json(home / REQUEST, request)
        record = made.model_copy(update={"spec": spec, "seeds": spec.seeds, "pruning": pruned})
        write_json(home / RECORD, record)


@pytest.mark.parametrize("name", [*shipped_sweeps(), "half of realistic"])
def test_once_the_missing_trials_have_run_nothing_is_missing(name: str, tmp_path: Path) -> None:
    half = name.startswith("half")
    sweep = load_sweep(name.rpartition(" ")[2])
    folder = tmp_path / sweep.name
    folder.mkdir()
    if half:
        sweep = sweep.model_copy(update={"designed": sweep.designed[:7]})
    write_json(folder / SWEEP, sweep)
    run(folder, sweep)
    missing = missing_trials(find_findings([folder], [load_trials(folder)]).findings)
    assert bool(missing) != (name == "published_grid" or name.startswith("study_"))
    if not missing:
        return
    asked = missing_sweep(folder, missing)
    count = len(asked.designed)
    again = load_sweep(str(write_sweep(folder, MISSING, asked)))
    assert again == asked
    assert (again.name, again.trial) == (sweep.name, sweep.trial), "it goes on with the same ledger"
    known = {
        request.spec.configuration for request in Ledger(tmp_path, sweep.name).requests().values()
    }
    new = {resolve_point(again, point)[2].configuration for point in again.designed}
    assert len(new) == count
    assert not new & known
    run(folder, again, first=500)
    found = find_findings([folder], [load_trials(folder)])
    assert missing_trials(found.findings) == []


def test_an_old_ledger_says_what_it_lacks(tmp_path: Path) -> None:
    folder = old_quickstart(tmp_path)
    trials: list[Trial] = load_trials(folder)
    found = {f.claim: f for f in find_findings([folder], [trials]).findings}
    # Of the embedded model 5 of 12 layers keep 93 % untrained, and 53 % of the widths do not.
    assert found["collapse"].word == "does not hold"
    assert found["crossing"].word == "does not hold"
    missing = missing_trials(list(found.values()))
    assert "layerwise 0.60 joint l2 5% data" in [want.label for want in missing]
    sweep = missing_sweep(folder, missing)
    assert {point["ratio"] for point in sweep.designed} <= {0.15, 0.30, 0.45, 0.60}
    assert (sweep.samples, sweep.priors, sweep.confirm) == (0, False, None)


def test_a_trial_has_the_settings_of_what_it_is_compared_with(tmp_path: Path) -> None:
    sweep = load_sweep("realistic")
    faster = {"lr_scale": 4.0, "pruning.units": "neurons"}
    points = tuple(p | faster if p["scope"] == "joint" else p for p in sweep.designed)
    sweep = sweep.model_copy(update={"designed": points})
    folder = tmp_path / sweep.name
    folder.mkdir()
    write_json(folder / SWEEP, sweep)
    run(folder, sweep)
    missing = missing_trials(find_findings([folder], [load_trials(folder)]).findings)
    points = missing_sweep(folder, missing).designed
    (point,) = (p for p in points if p["terms"] == "l2" and p["ratio"] == 0.30)
    assert point["lr_scale"] == 4.0
    assert point["pruning.units"] == "neurons"
    assert (point["data_fraction"], point["lora_rank"]) == (0.1, 8)
    few = [p for p in points if p["data_fraction"] == 0.05]
    assert {p["ratio"] for p in few} == {0.15, 0.30}


def test_what_is_too_wide_is_asked_again_with_as_many_questions_as_it_takes(tmp_path: Path) -> None:
    sweep = load_sweep("quickstart")
    recoveries = (
        {"scope": "none"},
        *({"scope": "joint", "terms": terms, "data_fraction": 0.05} for terms in ("ce", "ce+l2")),
    )
    points = tuple(
        {"method": method, "ratio": 0.3, **recovery}
        for method in ("layerwise", "widthwise")
        for recovery in recoveries
    )
    sweep = sweep.model_copy(
        update={"designed": points, "strata": {**sweep.strata, "ratio": (0.3,)}}
    )
    folder = tmp_path / sweep.name
    folder.mkdir()
    write_json(folder / SWEEP, sweep)
    run(folder, sweep)
    answers = wide_answers(find_findings([folder], [load_trials(folder)]).findings)
    first = answers[0]
    assert first.label == "widthwise - layerwise"
    assert first.more is not None
    wider = wider_sweep(folder, answers)
    assert wider is None, "so many times 200 questions per task are not there"
    near = [a.model_copy(update={"more": 3.0}) for a in answers]
    wider = wider_sweep(folder, near)
    assert wider is not None
    assert wider.name == "quickstart-more"
    assert wider.trial.evaluation.report_limit == 600
    specs = {resolve_point(wider, p)[2].pruning.method for p in wider.designed}
    assert specs == {"layerwise", "widthwise"}
    same = sweep.trial.evaluation.model_copy(update={"report_limit": 600})
    assert wider.trial == sweep.trial.model_copy(update={"evaluation": same})
