"""Which trials share importance scores through the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.stores import builds

from trainables.trial.inputs import Inputs
from trainables.trial.plan import importance_scores

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
