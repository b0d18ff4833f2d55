"""Where people look at a quantized trial they read who multiplied; the doctor says it before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.command_line import invoke
from helpers.trials import make_dense, make_trial, write_requests, write_sweep

from analysis.load import Trial
from sweeps.engine.show import doctor
from sweeps.engine.track.run_values import trial_tags
from trainables.efficiency import products
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.pruning.export import quantized_loading
from trainables.records import DefinedProducts, QuantizedProducts
from trainables.specs import Quantization

WRONG = QuantizedProducts(
    library="bitsandbytes 0.50.2",
    processor="Some CPU, 2 threads, AVX512",
    by_definition=(DefinedProducts(outputs=64, inputs=80, linears=28, library_error=0.21),),
)
RIGHT = WRONG.model_copy(update={"by_definition": ()})
SAID = (
    "28 linears (80 inputs) are multiplied by the format's definition: bitsandbytes 0.50.2 is off "
    "by up to 0.21 of the norm on Some CPU, 2 threads, AVX512"
)


def _quantized(name: str, found: QuantizedProducts) -> Trial:
    trial = make_trial(name, 0.9)
    record = trial.record
    assert record.efficiency is not None
    update = {"quantization": "nf4", "products": found}
    efficiency = record.efficiency.model_copy(update=update)
    spec = record.spec.model_copy(update={"quantization": "nf4"})
    changed = record.model_copy(update={"efficiency": efficiency, "spec": spec})
    return replace(trial, record=changed)


def test_status_mlflow_and_card_say_who_multiplied(tmp_path: Path) -> None:
    trials = [make_dense(), _quantized("a", WRONG), _quantized("b", RIGHT)]
    write_requests(write_sweep(tmp_path, trials), trials)
    shown = invoke("status", "demo", "--storage", tmp_path).stdout
    assert f"a: {SAID}" in shown
    (found,) = json.loads(invoke("status", "demo", "--json", "--storage", tmp_path).stdout)
    assert found["products"] == {"a": SAID}
    dense, wrong, right = (trial_tags(trial) for trial in trials)
    assert "products" not in dense
    assert wrong["products"] == SAID
    assert right["products"].startswith("all are multiplied by bitsandbytes 0.50.2")
    how = [quantized_loading(trial.record, LLAVA_LLAMA, "float32") for trial in trials[1:]]
    assert f"there {SAID}." in how[0]
    assert how[0].startswith(how[1])
    assert "definition" not in how[1]


def test_the_doctor_tries_every_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    monkeypatch.setattr(products, "_errors", {})
    monkeypatch.setattr(doctor, "WIDTHS", (64, 80))
    answer = invoke("doctor", "--json", "--storage", tmp_path)
    found = {row["what"]: row for row in json.loads(answer.stdout)}
    capability = torch.backends.cpu.get_cpu_capability()
    assert found["processor"]["text"].endswith(f"threads, {capability}")
    for kind, library in (("nf4", "bitsandbytes"), ("llm_int8", "bitsandbytes"),
                          ("int8_weight_only", "torchao")):  # fmt: skip
        row = found[f"{kind} on cpu"]
        assert library in row["text"]
        assert row["level"] == ("warning" if "is wrong at" in row["text"] else "ok")


def test_the_doctor_names_the_widths_that_a_library_gets_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(products, "_errors", {})
    monkeypatch.setattr(products, "product_error", lambda made, *_: made.in_features)
    rows = {row.what: row for row in doctor.examine(tmp_path)}
    assert rows["nf4 on cpu"].level == "warning"
    assert "is wrong at 10 of 10 widths tried (64, 80, 96, " in rows["nf4 on cpu"].text

    def missing(quantization: Quantization, *_: object) -> None:
        raise ValueError(f"{quantization} needs a library")

    monkeypatch.setattr("trainables.efficiency.quantize.check_quantization", missing)
    rows = {row.what: row for row in doctor.examine(tmp_path)}
    assert rows["llm_int8 on cpu"].level == "warning"
    assert rows["llm_int8 on cpu"].text == "llm_int8 needs a library"
