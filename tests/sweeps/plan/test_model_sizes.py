"""`prunesweep plan --models` and `--model NAME`: sizes of known models, without a sweep."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from helpers.command_line import invoke, refused
from rich.console import Console
from safetensors import safe_open

import sweeps.engine.plan.model_sizes as sizes
from sweeps.engine.plan.model_sizes import METHODS, RATIOS, model_rows
from sweeps.engine.show.model_tables import print_models
from trainables.models.families.registry import MODELS, TINY_FOLDER
from trainables.models.unpruned import Counted, Unpruned

UNPRUNED = Unpruned(params=1_000_000, flops=2_000_000, image_tokens=9)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same vision tower for every model, instead of the process that counts them."""
    counted = Counted(unpruned=UNPRUNED, vision=0, projector=0, tensors=(), activations=())
    monkeypatch.setattr(sizes, "count", lambda questions: [counted] * len(questions))


def _removed(dense: dict[str, Any], row: dict[str, Any]) -> float:
    """Share of the language model's parameters that is gone, from the totals of two rows."""
    return float((dense["params"] - row["params"]) / (dense["params"] * dense["lm_fraction"]))


def test_the_embedded_model_as_json() -> None:
    """Against the shapes in its weights file; only here the counting process really runs."""
    with safe_open(TINY_FOLDER / "model.safetensors", framework="numpy") as file:
        tensors = {name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()}
    params = sum(tensors.values())
    lm_params = sum(size for name, size in tensors.items() if name.startswith("language_model."))
    layer = sum(size for name, size in tensors.items() if ".model.layers.0." in name)

    dense, *pruned = json.loads(invoke("plan", "--model", "tiny", "--json").stdout)
    assert (dense["model"], dense["family"], dense["method"]) == ("tiny", "llava-llama", None)
    assert dense["params"] == params
    assert dense["lm_fraction"] == pytest.approx(lm_params / params)
    assert dense["weights_mib"] == pytest.approx(2 * params / 2**20)
    assert (dense["layers"], dense["kv_groups"], dense["neurons"]) == (12, 8, 256)
    cells = [(row["method"], row["ratio_target"]) for row in pruned]
    assert cells == [(method, ratio) for method in METHODS for ratio in RATIOS]
    for row in pruned:
        assert row["unreachable"] is None
        assert row["ratio"] == pytest.approx(_removed(dense, row))
        assert row["ratio"] == pytest.approx(row["ratio_target"], abs=layer / lm_params / 2)
        if row["method"] == "layerwise":
            assert dense["params"] - row["params"] == (12 - row["layers"]) * layer
            assert (row["kv_groups"], row["neurons"]) == (8, 256)
        else:
            assert row["layers"] == 12
            assert row["kv_groups"] < 8
            assert row["neurons"] < 256
        assert row["tflops"] < dense["tflops"]


@pytest.mark.usefixtures("counted")
def test_every_known_model_has_its_rows() -> None:
    rows = json.loads(invoke("plan", "--models", "--json").stdout)
    assert list(dict.fromkeys(row["model"] for row in rows)) == list(MODELS)
    for name in MODELS:
        dense, *pruned = (row for row in rows if row["model"] == name)
        assert [row["method"] for row in pruned] == [m for m in METHODS for _ in RATIOS]
        lm_params = dense["params"] - UNPRUNED.params
        assert dense["lm_fraction"] == pytest.approx(lm_params / dense["params"])
        for row in pruned:
            assert row["unreachable"] is None
            assert row["ratio"] == pytest.approx(_removed(dense, row))
            assert row["ratio"] == pytest.approx(row["ratio_target"], abs=0.5 / dense["layers"])


@pytest.mark.usefixtures("counted")
def test_printed_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    rows = model_rows("llava-hf/llava-1.5-7b-hf")
    # Published: 6,738,939,904 parameters in the language model; a layer has 202,383,360 of them.
    assert rows[0].params - UNPRUNED.params == 6_738_939_904
    thirty = next(row for row in rows if (row.method, row.ratio_target) == ("layerwise", 0.30))
    assert thirty.layers == 22
    assert rows[0].params - thirty.params == 10 * 202_383_360
    print_models(rows, Console(width=200))
    printed = capsys.readouterr().out
    assert "llava-hf/llava-1.5-7b-hf (llava-llama)" in printed
    assert "layerwise 0.30" in printed
    assert "6,739.9 M" in printed
    assert "not reachable" not in printed


@pytest.mark.usefixtures("counted")
def test_a_ratio_out_of_reach_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sizes, "RATIOS", (0.5, 0.999))
    dense, *pruned = rows = model_rows("tiny")
    assert [row.unreachable is None for row in pruned] == [True, False] * 2
    for row in pruned[1::2]:
        assert "0.999" in str(row.unreachable)
        assert (row.ratio, row.params) == (0, dense.params)
    print_models(rows, Console(width=200))
    assert capsys.readouterr().out.count("not reachable") == 2


def test_wrong_names_and_two_questions_at_once() -> None:
    assert "Did you mean 'tiny'?" in refused("plan", "--model", "tinny")
    assert "neither a known model nor a folder" in refused(
        "plan", "--model", "no/such/model", "--json"
    )
    one = "one of a sweep, --models, or --model NAME"
    assert one in refused("plan")
    assert one in refused("plan", "quickstart", "--models")
    assert one in refused("plan", "quickstart", "--model", "tiny")
    assert one in refused("plan", "--models", "--model", "tiny")


@pytest.mark.slow
def test_every_known_model_at_its_real_size() -> None:
    """Totals as the hub pages state them, where they do; the issue allows 30 s for all."""
    dense = {row.model: row for row in model_rows() if row.method is None}
    stated = {name: entry.params for name, entry in MODELS.items() if entry.params}
    assert stated
    assert {name: dense[name].params for name in stated} == stated
    assert all(0.5 < row.lm_fraction < 1 for row in dense.values())
    assert all(row.tflops > 0 for row in dense.values())
