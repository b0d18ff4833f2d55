"""What a probe runs, and who uses what it found."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.engine.plan.ahead import works
from sweeps.engine.plan.estimates import kept_share
from sweeps.engine.plan.planning import plan_sweep
from sweeps.engine.plan.probing import Probe, Probes, probe_of, probed
from sweeps.engine.plan.rates import Rates
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import load_sweep
from trainables.common.files import write_json
from trainables.models.families.registry import language_shape

QUICKSTART = load_sweep("quickstart")


def probe(host: str, device: str = "H200", model: str = "tiny") -> Probe:
    return Probe(
        device=device, model=model, dtype="float32", host=host, when="2026-11-29T12:00:00+00:00",
        seconds=100.0, rates=Rates(evaluation=(1.0, 0.5)), counted=True,
    )  # fmt: skip


def test_every_method_and_scope_is_probed_with_a_teacher_where_there_is_one() -> None:
    specs = probed(QUICKSTART)
    places = {(s.pruning.method, s.recovery.scope) for s in specs}
    assert places == {(m, s) for m in ("layerwise", "widthwise") for s in ("projector", "joint")}
    assert any(spec.recovery.loss.needs_teacher for spec in specs)


def test_a_sweep_that_trains_nothing_cannot_be_probed() -> None:
    untrained = ({"method": "layerwise", "ratio": 0.3, "scope": "none"},)
    changes = {"samples": 0, "priors": False, "designed": untrained}
    with pytest.raises(ValueError, match="no trial of sweep 'quickstart' recovers"):
        probed(QUICKSTART.model_copy(update=changes))


def test_this_machine_comes_before_others_and_another_model_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert probe_of(tmp_path, QUICKSTART.trial.model) is None
    found = (probe("here", "A40"), probe("elsewhere"), probe("here", model="llava"))
    write_json(tmp_path / "probes.json", Probes(probes=found))
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    assert probe_of(tmp_path, QUICKSTART.trial.model).basis == "probe of 2026-11-29 on A40"
    monkeypatch.setattr("socket.gethostname", lambda: "third")
    assert probe_of(tmp_path, QUICKSTART.trial.model).basis == "probe of 2026-11-29 on H200"


def test_a_probe_that_took_samples_for_longer_than_they_are_is_passed_over(tmp_path: Path) -> None:
    older = probe("here").model_copy(update={"counted": False})
    write_json(tmp_path / "probes.json", Probes(probes=(older,)))
    assert probe_of(tmp_path, QUICKSTART.trial.model) is None


def test_a_plan_takes_from_a_probe_what_it_measured_and_assumes_the_rest(tmp_path: Path) -> None:
    write_json(tmp_path / "probes.json", Probes(probes=(probe("here"),)))
    plan = plan_sweep(QUICKSTART, Ledger(tmp_path, "quickstart"))
    rows = {row.stage: row for row in plan.forecast.stages}
    assert rows["search split"].basis == "probe of 2026-11-29 on H200"
    assert rows["recovery"].basis.startswith("tried on this machine: ")
    assert rows["prune and measure"].basis.startswith("assumed, not measured")
    # 20 trials of 200 questions in each of 5 tasks, and what a slot's start is assumed to take
    shape, started = language_shape(QUICKSTART.trial.model), plan.slots * 9.0
    size = sum(work.times * kept_share(work.spec, shape) for work in works(QUICKSTART, []))
    assert 10 < size < 15
    assert rows["search split"].seconds == pytest.approx(20 + 0.5 * 1000 * size + started)
