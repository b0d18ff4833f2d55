"""A whole trial of the embedded model: what is quantized is what is scored, measured and timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import make_spec, start_job
from transformers import LlavaForConditionalGeneration

from trainables.common.files import read_json, write_json
from trainables.common.store import Store
from trainables.efficiency.quantize import quantize
from trainables.pruning.surgery import apply_plan
from trainables.records import RECORD, REPORT, ClosingReport, TrialRecord
from trainables.specs import (
    EfficiencySpec,
    EvaluationSpec,
    Quantization,
)
from trainables.trial.closing import measure_quietly, score_report_split
from trainables.trial.compress import compress
from trainables.trial.evaluate import score
from trainables.trial.inputs import load_inputs
from trainables.trial.jobs import LatencyJob, ReportJob
from trainables.trial.plan import load_plan
from trainables.trial.student import export_trial


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """A function that runs a trial with this quantization; returns (record, folder)."""

    def go(quantization: Quantization) -> tuple[TrialRecord, Path]:
        spec = make_spec(
            evaluation=EvaluationSpec(search_limit=8, report_limit=8, batch_size=40),
            efficiency=EfficiencySpec(new_tokens=2, latency_repeats=3),
            quantization=quantization,
        )
        folder = tmp_path / quantization
        job = start_job(folder, spec)
        record = compress(job)
        assert record is not None
        write_json(folder / RECORD, record)
        return record, folder

    return go


@pytest.mark.slow
def test_a_quantized_trial(run: Any, tmp_path: Path) -> None:
    plain, _ = run("none")
    record, folder = run("nf4")
    assert plain.efficiency.quantization == "none"
    assert record.efficiency.quantization == "nf4"
    assert record.efficiency.weights_mib < plain.efficiency.weights_mib / 3
    for name in ("params", "lm_params", "tflops"):
        assert getattr(record.efficiency, name) == getattr(plain.efficiency, name)
    assert "quantize" in record.cost.device_seconds
    assert not {"quantize", "shared recovery"} & plain.cost.device_seconds.keys()

    inputs = load_inputs(record.spec, Store(tmp_path / "store"))
    dense = inputs.dense
    student = quantize(
        apply_plan(dense.model, dense.adapter, load_plan(folder)), dense.adapter, "nf4"
    )
    for split, found in (
        ("search", record.evaluation),
        ("report", score_report_split(_report_job(folder, tmp_path))),
    ):
        expected, _ = score(inputs, lambda: student, split, folder / "log.txt", "designed")
        assert found.tasks == expected.tasks
    measure_quietly(LatencyJob(folders=(folder,), store=tmp_path / "store", attempt="attempt"))
    latency = read_json(folder / REPORT, ClosingReport).latency
    assert latency is not None
    assert latency.repeats == 3

    to = export_trial(folder, tmp_path / "exported")
    exported = LlavaForConditionalGeneration.from_pretrained(to)
    assert exported.num_parameters() == record.efficiency.params, "not quantized"
    card = (to / "README.md").read_text()
    assert "These weights are not quantized, but the trial was scored with them quantized" in card
    assert "BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4'" in card


def _report_job(folder: Path, root: Path) -> ReportJob:
    return ReportJob(trial_id="nf4", folder=folder, store=root / "store", attempt="attempt")
