"""Pruning in steps, each with scores of what is left."""

from __future__ import annotations

import numpy as np
import pytest

from trainables.pruning.iterative import plan_iteratively, spread
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.planning.pruning_target import resolve_target
from trainables.pruning.scoring.importance import score_importance
from trainables.pruning.surgery import apply_plan
from trainables.specs import PruningSpec

SPECS = {
    "widthwise": {"method": "widthwise", "ratio": 0.4},
    "global": {"method": "widthwise", "ratio": 0.4, "ranking": "global"},
    "layerwise": {"method": "layerwise", "ratio": 0.45},
    "hybrid": {"method": "hybrid", "ratio": 0.5},
}


@pytest.mark.parametrize("name", SPECS)
def test_every_step_scores_the_student_of_the_step_before(name, families):
    family = families["llava-llama"](text={"num_hidden_layers": 6})
    spec = PruningSpec(**SPECS[name], steps=2)
    shape = family.adapter.language_shape(family.config)

    def score(model, adapter):
        return score_importance(model, adapter, [family.batch], spec)

    first = score(family.model, family.adapter)
    plan = plan_iteratively(family.model, family.adapter, first, score, spec)
    assert abs(plan.ratio - resolve_target(shape, spec).ratio) < 0.01
    # By hand: half of it, scores of that student at their dense places, then all of it.
    half = spec.model_copy(update={"ratio": spec.ratio / 2, "steps": 1})
    part = plan_pruning(first, shape, half)
    again = spread(score(apply_plan(family.model, family.adapter, part), family.adapter), part)
    assert plan == plan_pruning(again, shape, spec)
    assert set(plan.layers) <= set(part.layers)
    assert apply_plan(family.model, family.adapter, plan)(**family.batch).loss.isfinite()


def test_what_is_gone_scores_below_everything(families, random_scores):
    family = families["llava-llama"]()
    shape = family.adapter.language_shape(family.config)
    scores = random_scores(shape)
    spec = PruningSpec(method="hybrid", ratio=0.4, ranking="global")
    plan = plan_pruning(scores, shape, spec)
    small = random_scores(shape.model_copy(update={"num_hidden_layers": len(plan.layers)}))
    dense = spread(small, plan)
    gone = sorted(set(range(shape.num_hidden_layers)) - set(plan.layers))
    assert dense.block[gone].max() < small.block.min()
    for row, layer in enumerate(plan.layers):
        kept = list(plan.neurons[row])
        assert np.array_equal(dense.neurons[layer, kept], small.neurons[row, : len(kept)])
        assert np.delete(dense.neurons[layer], kept).max(initial=-9) < small.neurons.min()
