"""What a plan says of a student's size is what the student, built and measured, has."""

from __future__ import annotations

from typing import Any

from trainables.efficiency.measure import measure, unpruned_parts
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.planning.sizes import model_size
from trainables.pruning.surgery import apply_plan
from trainables.specs import EfficiencySpec, PruningSpec


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
