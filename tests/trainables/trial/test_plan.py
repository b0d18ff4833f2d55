"""Which trials share importance scores through the store, and what they are scored on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.conversations import write_conversations
from helpers.jobs import make_spec
from helpers.stores import builds

from trainables.common.store import Store
from trainables.recovery.data.rows import BrokenSampleError
from trainables.specs import ImportanceSpec, TrialSpec
from trainables.trial.inputs import Inputs, load_inputs
from trainables.trial.plan import calibration_batches, importance_scores

Make = Callable[..., Inputs]


def _passes(inputs: Inputs) -> int:
    return len(builds(inputs.store, "importance"))


def test_a_criterion_is_scored_once_for_all_methods_and_idle_settings(inputs: Make) -> None:
    deep = importance_scores(inputs("layerwise"))
    importance_scores(inputs("layerwise", taylor="per_sample", groups="magnitude"))
    assert _passes(inputs("layerwise")) == 1
    wide = importance_scores(inputs("widthwise"))
    both = importance_scores(inputs("hybrid"))
    assert _passes(inputs("layerwise")) == 2
    np.testing.assert_array_equal(both.block, deep.block)
    np.testing.assert_array_equal(both.heads, wide.heads)
    assert both.metadata.method == "hybrid"
    by_taylor = importance_scores(inputs("layerwise", layers="taylor", tokens="image"))
    assert _passes(inputs("layerwise")) == 2
    sums = wide.heads.sum(axis=1) + wide.neurons.sum(axis=1)
    np.testing.assert_allclose(by_taylor.block, sums, rtol=1e-6)


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"samples": 3}, {"tokens": "text"}, {"distance": "angular"}, {"preset": "study"}],
)
def test_what_changes_layer_scores_is_scored_anew(inputs: Make, other: dict[str, Any]) -> None:
    importance_scores(inputs("layerwise"))
    scores = importance_scores(inputs("layerwise", **other))
    assert _passes(inputs("layerwise")) == 2
    assert scores.metadata.seed == other.get("seed", 0)
    assert scores.metadata.weights_digest == "w"
    assert len(scores.metadata.data_digest) == 16


def test_scores_without_data_do_not_depend_on_the_calibration(inputs: Make) -> None:
    for seed, samples in ((0, 8), (1, 16)):
        importance_scores(inputs("widthwise", groups="magnitude", seed=seed, samples=samples))
    assert _passes(inputs("widthwise")) == 1
    for seed, samples in ((0, 8), (0, 16), (1, 16)):
        importance_scores(inputs("widthwise", groups="random", seed=seed, samples=samples))
    assert _passes(inputs("widthwise")) == 3


def test_fewer_conversations_than_asked(inputs: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"importance.samples=4, but the data has only 3"):
        importance_scores(inputs("layerwise", samples=4))


def test_calibration_passes_over_what_cannot_be_used(tmp_path: Path) -> None:
    path = write_conversations(tmp_path, 6)
    rows = json.loads(path.read_text())
    rows[2]["conversations"][1]["value"] = "red </s>"
    path.write_text(json.dumps(rows))
    (tmp_path / "4.png").write_bytes((tmp_path / "4.png").read_bytes()[:60])
    store, spec = Store(tmp_path / "store"), make_spec(path)
    with pytest.raises(BrokenSampleError, match=r"sample-[24]"):
        calibration_batches(load_inputs(with_samples(spec, 6), store))
    skipping = spec.model_copy(update={"data": spec.data.model_copy(update={"skip_broken": True})})
    batches = calibration_batches(load_inputs(with_samples(skipping, 4), store))
    assert sum(len(batch["input_ids"]) for batch in batches) == 4
    with pytest.raises(ValueError, match="only 4 conversations that can be used"):
        calibration_batches(load_inputs(with_samples(skipping, 5), store))


def with_samples(spec: TrialSpec, samples: int) -> TrialSpec:
    pruning = spec.pruning.model_copy(update={"importance": ImportanceSpec(samples=samples)})
    return spec.model_copy(update={"pruning": pruning})
