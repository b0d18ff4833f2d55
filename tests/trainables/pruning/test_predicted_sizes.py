"""What a plan says of a student's size is what the student, built and measured, has."""

from __future__ import annotations

from typing import Any

import pytest

from trainables.efficiency.measure import measure, unpruned_parts
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.planning.sizes import model_size
from trainables.pruning.surgery import apply_plan
from trainables.specs import MIB, EfficiencySpec, Method, PruningSpec, SizeTarget


def test_predicted_is_measured_to_the_digit(family: Any, random_scores: Any) -> None:
    """Fewer layers, each of a width of its own; the kinds of widths add up."""
    spec = EfficiencySpec(prompt_tokens=7)
    unpruned = unpruned_parts(family.model, family.adapter, spec, "bfloat16")
    shape = family.adapter.language_shape(family.config)
    pruning = PruningSpec(method="hybrid", ratio=0.5, ranking="global")
    plan = plan_pruning(random_scores(shape), shape, pruning)
    student = apply_plan(family.model, family.adapter, plan)
    found = measure(student, family.adapter, spec, "bfloat16")
    said = model_size(shape, plan.kept_counts, unpruned)
    assert said.params == found.params
    assert said.weights_mib == found.weights_mib
    assert said.tflops == found.tflops


@pytest.mark.parametrize("method", ["layerwise", "widthwise"])
def test_a_student_keeps_the_memory_it_was_asked_for(
    family: Any, random_scores: Any, method: Method
) -> None:
    """Fewer layers have what the plan says; narrower ones a little less, in their activations."""
    spec = EfficiencySpec(prompt_tokens=7, new_tokens=5)
    unpruned = unpruned_parts(family.model, family.adapter, spec, "bfloat16", activations=True)
    shape = family.adapter.language_shape(family.config)
    said = model_size(shape, shape.widths(), unpruned).memory_mib
    dense = measure(family.model, family.adapter, spec, "bfloat16").memory
    assert dense is not None
    assert dense.total_mib == said
    target = dense.total_mib - 0.3 * sum(shape.layer_params(*w) for w in shape.widths()) * 2 / MIB
    pruning = PruningSpec(method=method, size=SizeTarget(memory_mib=target))
    plan = plan_pruning(random_scores(shape), shape, pruning, unpruned=unpruned)
    student = apply_plan(family.model, family.adapter, plan)
    found = measure(student, family.adapter, spec, "bfloat16").memory
    assert found is not None
    assert plan.size_achieved is not None
    assert found.total_mib <= plan.size_achieved <= target
    saved = dense.activations_mib - found.activations_mib
    assert plan.size_achieved - found.total_mib == pytest.approx(saved, abs=1e-12)
    if method == "layerwise":
        assert saved == 0
