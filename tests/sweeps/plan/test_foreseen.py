"""What is spent and left, and how far the forecast of a sweep's start was off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.command_line import invoke
from helpers.ledgers import LEDGER_V1, old_quickstart

from analysis.bases import Base
from analysis.load import load_trials
from sweeps.engine.plan.assumed import assumed_rates
from sweeps.engine.plan.foreseen import Foreseen, Progress, keep_forecast, progress_of
from sweeps.engine.plan.rates import Known, Rates
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import load_sweep
from trainables.common.files import read_json
from trainables.models.families.registry import language_shape
from trainables.specs import Seeds

QUICKSTART = load_sweep("quickstart")
SHAPE = language_shape(QUICKSTART.trial.model)
SPENT = sum(sum(t.record.cost.device_seconds.values()) for t in load_trials(LEDGER_V1)) / 3600


def said(*words: object) -> str:
    return " ".join(invoke(*words).stdout.split())


def foresee(ledger: Ledger, *sources: Known) -> Foreseen:
    keep_forecast(
        QUICKSTART,
        SHAPE,
        ledger,
        conversations=21_000,
        teacher_cached=True,
        slots=2,
        sources=sources or (assumed_rates(QUICKSTART.trial, SHAPE),),
    )
    return read_json(ledger.folder / "forecast.json", Foreseen)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A quickstart that has been started and forecast, without a trial yet."""
    found = Ledger(tmp_path, "quickstart")
    found.open(QUICKSTART)
    foresee(found)
    return found


def test_a_sweep_that_is_over_has_nothing_left_and_says_how_far_it_was_off(ledger: Ledger) -> None:
    before = foresee(ledger)
    shutil.copytree(LEDGER_V1 / "trials", ledger.trials, dirs_exist_ok=True)
    found = progress_of(Ledger(ledger.storage, "quickstart"), whole=True)
    assert found.device_hours == pytest.approx(SPENT)
    assert found.left_device_hours == pytest.approx(0.0)
    took = (found.device_hours + found.closing_device_hours) * 3600
    assert found.off == pytest.approx(took / before.forecast.device_seconds - 1)
    assert abs(found.off) < 0.25  # what is assumed of the embedded model, on the core it is from
    assert found.wall_hours < found.device_hours < 2 * found.wall_hours  # two slots


def test_half_way_what_is_left_is_less(ledger: Ledger) -> None:
    for folder in sorted((LEDGER_V1 / "trials").iterdir())[:10]:
        shutil.copytree(folder, ledger.trials / folder.name)
    found = progress_of(Ledger(ledger.storage, "quickstart"), whole=True)
    assert 0 < found.left_device_hours < found.forecast_device_hours
    pace = found.device_hours / found.wall_hours
    assert found.left_wall_hours == pytest.approx(found.left_device_hours / pace)


def test_a_forecast_is_corrected_by_finished_trials_alone(tmp_path: Path) -> None:
    """Not by rates that are assumed where the start knew better ones, nor before any trial."""
    ledger = Ledger(tmp_path, "quickstart")
    ledger.open(QUICKSTART)
    assumed = assumed_rates(QUICKSTART.trial, SHAPE)
    slow = Known(Rates(recovery=(100.0, 1.0, 1.0)), "a probe")
    before = foresee(ledger, slow, assumed)
    asked = ("status", "quickstart", "--storage", tmp_path)

    def seen() -> Progress:
        return progress_of(Ledger(tmp_path, "quickstart"), whole=True)

    assert seen().off is None
    assert seen().left_device_hours == pytest.approx(before.forecast.device_seconds / 3600)
    assert "assumed, not measured: 0.03 TFLOP/s of one CPU core; a probe)." in said(*asked)
    for folder in ("dense", "005-layerwise-45-none"):  # two say less than a probe
        shutil.copytree(LEDGER_V1 / "trials" / folder, ledger.trials / folder)
    assert abs(seen().off) < 0.05
    assert "; now seen to take" in said(*asked)
    shutil.copytree(LEDGER_V1 / "trials", ledger.trials, dirs_exist_ok=True)
    assert seen().off < -0.5


def test_a_second_run_keeps_the_first_forecast_and_a_larger_sweep_makes_its_own(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = foresee(ledger)
    shutil.copytree(LEDGER_V1 / "trials", ledger.trials, dirs_exist_ok=True)
    assert foresee(ledger) == first
    monkeypatch.setitem(globals(), "QUICKSTART", QUICKSTART.model_copy(update={"samples": 30}))
    assert foresee(ledger).trials == first.trials + 22


def test_another_base_has_a_forecast_of_its_own(ledger: Ledger) -> None:
    first = foresee(ledger)
    shutil.copytree(LEDGER_V1 / "trials", ledger.trials, dirs_exist_ok=True)
    later = Ledger(ledger.storage, "quickstart")
    seeds = Seeds(train=1)
    later.take(Base(trial=QUICKSTART.trial.model_copy(update={"seeds": seeds})))
    later.open(QUICKSTART)
    found = foresee(later)
    assert (found.trials, found.base) == (first.trials, 1)
    assert found.forecast.spent_seconds == 0


def test_status_of_an_older_ledger_says_what_it_has_cost(tmp_path: Path) -> None:
    old_quickstart(tmp_path)
    asked = ("status", "quickstart", "--storage", tmp_path)
    (found,) = json.loads(invoke(*asked, "--json").stdout)
    assert found["progress"]["device_hours"] == pytest.approx(SPENT)
    assert found["progress"]["left_device_hours"] is None
    assert f"spent {SPENT:.3g} device-hours" in invoke(*asked).stdout
