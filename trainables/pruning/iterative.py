"""Pruning in steps: score, prune a part, score what is left, prune more.

Every step's plan is cut from the dense model, never from the student before it, and speaks of dense
layers, heads and neurons; so the last one alone describes the outcome.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from transformers import PreTrainedModel

from trainables.models.families.adapter import VLMAdapter
from trainables.models.families.registry import adapter_for
from trainables.models.unpruned import Unpruned
from trainables.pruning.planning.planner import PrunePlan, plan_pruning
from trainables.pruning.planning.scores import Array, ImportanceScores
from trainables.pruning.planning.sizes import part_of
from trainables.pruning.surgery import apply_plan
from trainables.specs import PruningSpec

Score = Callable[[PreTrainedModel, VLMAdapter], ImportanceScores]


def plan_iteratively(
    model: PreTrainedModel,
    adapter: VLMAdapter,
    scores: ImportanceScores,
    score: Score,
    spec: PruningSpec,
    weights_digest: str = "",
    unpruned: Unpruned | None = None,
) -> PrunePlan:
    """The plan after `spec.steps` equal steps.

    Args:
        model: the dense model; left as it was.
        adapter: its table.
        scores: of the dense model, for the first step.
        score: scores of a student, by the spec's criteria; its layers may differ in width.
        spec: method, target, rules and number of steps.
        weights_digest: of the dense model.
        unpruned: the rest of the model, for a size target.

    Raises:
        ValueError: if the target or a part of it cannot be met.
    """
    unpruned = unpruned or Unpruned()
    shape = adapter.language_shape(model.config.to_dict())
    for step in range(1, spec.steps):
        part = part_of(shape, spec, unpruned, step / spec.steps)
        plan = plan_pruning(scores, shape, part, weights_digest, unpruned)
        student = apply_plan(model, adapter, plan)
        scores = spread(score(student, adapter_for(student.config.to_dict())), plan)
    return plan_pruning(scores, shape, spec, weights_digest, unpruned)


def spread(scores: ImportanceScores, plan: PrunePlan) -> ImportanceScores:
    """A student's scores at the dense places; what is gone already scores below everything.

    Args:
        scores: of the student, rows of narrower layers padded at their end.
        plan: that the student was cut by.
    """
    layers = plan.shape.num_hidden_layers
    block = heads = neurons = None
    if scores.block is not None:
        # So low that a contiguous block of a later step always holds the one that is gone.
        block = np.full(layers, _below(scores.block) * (layers + 1), dtype=np.float32)
        block[list(plan.layers)] = scores.block
    if scores.heads is not None:
        heads = _spread(scores.heads, plan, plan.kv_groups, plan.shape.num_key_value_heads)
    if scores.neurons is not None:
        neurons = _spread(scores.neurons, plan, plan.neurons, plan.shape.intermediate_size)
    return replace(scores, block=block, heads=heads, neurons=neurons)


def _spread(
    rows: Array, plan: PrunePlan, kept: tuple[tuple[int, ...], ...] | None, count: int
) -> Array:
    dense = np.full((plan.shape.num_hidden_layers, count), _below(rows), dtype=np.float32)
    everything = tuple(range(count))
    for index, layer in enumerate(plan.layers):
        units = list(kept[index] if kept else everything)
        dense[layer, units] = rows[index, : len(units)]
    return dense


def _below(scores: Array) -> float:
    """A negative number further below the scores than they are apart."""
    return -1.0 - 2 * float(np.abs(scores).max())
