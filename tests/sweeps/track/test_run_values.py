"""What a trial's run holds, as values; no store is written."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

from helpers.trials import make_trial, write_sweep

from analysis.load import load_trials
from sweeps.engine.track.run_values import trial_metrics, trial_params, trial_tags
from trainables.records import Comparison


def test_what_was_measured_quietly_is_logged() -> None:
    trial = make_trial("a", 0.9, report=0.85, latency_ms=20.0)
    assert trial.latency is not None
    assert trial.report is not None
    one = trial.latency.model_copy(update={"prefill_ms": 12.0, "tokens_per_second": 130.0})
    eight = one.model_copy(update={"batch": 8, "median_ms": 55.0, "energy_joules": 3.5})
    report = trial.report.model_copy(update={"latency": one, "batched_latency": eight})
    found = {m.key: m.value for m in trial_metrics(replace(trial, report=report))}
    assert found["latency_ms"] == 20.0
    assert (found["latency/prefill_ms"], found["latency/tokens_per_second"]) == (12.0, 130.0)
    assert (found["batched_latency_ms"], found["batched_latency/batch"]) == (55.0, 8.0)
    assert found["batched_latency/energy_joules"] == 3.5
    assert "latency/energy_joules" not in found


def test_intervals_and_paired_differences_are_metrics() -> None:
    trial = make_trial("a", 0.9, report=0.8)
    assert trial.report is not None
    paired = Comparison(dense=96.0, difference=-4.0, low=-6.0, high=-2.5)
    evaluation = trial.report.evaluation
    task = evaluation.tasks["tiny_counting"].model_copy(update={"paired": paired})
    changed = evaluation.model_copy(
        update={
            "retention_low": 0.78, "retention_high": 0.83, "paired": paired,
            "tasks": evaluation.tasks | {"tiny_counting": task},
        }
    )  # fmt: skip
    report = trial.report.model_copy(update={"evaluation": changed})
    found = {m.key: m.value for m in trial_metrics(replace(trial, report=report))}
    assert (found["retention_low"], found["report/retention_high"]) == (0.78, 0.83)
    assert "search/retention_low" not in found  # the search split's record has none
    for name in ("average", "tiny_counting"):
        ends = [found[f"report/difference/{name}{end}"] for end in ("", "_low", "_high")]
        assert ends == [-4.0, -6.0, -2.5]
    assert "report/difference/tiny_attribute" not in found


def test_curves_are_thinned_and_nan_is_never_logged(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, [make_trial("a", curves="curves.jsonl")])
    rows = [{"step": i, "ce": 1 / i, "grad_norm": None} for i in range(1, 1002)]
    rows[0]["ce"] = math.nan
    lines = [json.dumps(row) for row in rows]
    (folder / "trials" / "a" / "curves.jsonl").write_text("\n".join([*lines, '{"step": 1002, "c']))
    metrics = trial_metrics(load_trials(folder)[0])
    curve = [m for m in metrics if m.key == "train/ce"]
    assert 50 <= len(curve) <= 101
    assert (curve[-1].step, curve[-1].value) == (1001, 1 / 1001)
    assert curve[0].step > 1  # the NaN of step 1
    assert not [m for m in metrics if m.key == "train/grad_norm"]
    assert all(math.isfinite(m.value) for m in metrics)


def test_without_recovery_weights_and_data_are_zero() -> None:
    trial = make_trial("a", scope="none")
    params = {p.key: p.value for p in trial_params(trial)}
    assert (params["loss_terms"], params["alpha"], params["lr"]) == ("none", "0", "none")
    values = {m.key: m.value for m in trial_metrics(trial)}
    assert (values["alpha"], values["data_fraction"]) == (0.0, 0.0)
    assert trial_tags(trial)["size_bucket"] == "0.30"
