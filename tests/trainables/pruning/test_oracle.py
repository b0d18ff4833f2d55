"""What width pruning cuts against Torch-Pruning's dependency graph, which knows no adapter.

The graph traces the family's own attention or MLP and finds by itself which rows and columns of
which linears hang together: starting from the removed columns of `o` (or `down`) it must arrive at
the rows that surgery removes from the others. Grouped heads, fused projections and norms of queries
and keys are taken as the traced code computes them. Rotary embeddings are left out: they mix
channels within one head only, and Torch-Pruning 1.6 does not come back from their slices.
"""

from __future__ import annotations

import copy
import sys

import pytest
import torch
import torch_pruning as tp
from torch import nn

from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.surgery import apply_plan, kept_positions
from trainables.specs import PruningSpec

LAYER = 1


class _Attention(nn.Module):
    """The attention of a decoder layer alone, on a residual stream."""

    def __init__(self, layer):
        super().__init__()
        self.self_attn = layer.self_attn

    def forward(self, hidden):
        nowhere = (None, None)  # cosines and sines that nobody reads
        attended, _ = self.self_attn(hidden, position_embeddings=nowhere, attention_mask=None)
        return hidden + attended


class _Mlp(nn.Module):
    """The MLP of a decoder layer alone, on a residual stream."""

    def __init__(self, layer):
        super().__init__()
        self.mlp = layer.mlp

    def forward(self, hidden):
        return hidden + self.mlp(hidden)


BRANCHES = {"self_attn.": _Attention, "mlp.": _Mlp}


@pytest.fixture(params=BRANCHES)
def prefix(request):
    return request.param


@pytest.fixture
def branch(prefix, family, monkeypatch):
    """The traceable half of a decoder layer: eager attention of the family, without rotary."""
    family.model.set_attn_implementation("eager")
    layer = copy.deepcopy(family.model.get_submodule(family.adapter.layers)[LAYER])
    source = sys.modules[type(layer.self_attn).__module__]
    rotary = [name for name in vars(source) if name.startswith("apply_") and "rotary" in name]
    assert rotary
    for name in rotary:  # some files have one more for images
        monkeypatch.setattr(source, name, lambda queries, keys, *_, **__: (queries, keys))
    return BRANCHES[prefix](layer).requires_grad_(True)


@pytest.fixture
def plan(family, random_scores):
    shape = family.adapter.language_shape(family.config)
    spec = PruningSpec(method="widthwise", ratio=0.4, units="all", ranking="global")
    plan = plan_pruning(random_scores(shape), shape, spec)
    assert 0 < len(plan.kv_groups[LAYER]) < shape.num_key_value_heads
    assert 0 < len(plan.neurons[LAYER]) < shape.intermediate_size
    return plan


def _pruning_group(branch, shape, reader, columns):
    """Torch-Pruning's group of all that goes with these columns of `reader`."""
    norms = [p for name, p in branch.named_parameters() if "norm" in name]  # over one head's width
    graph = tp.DependencyGraph().build_dependency(
        branch,
        example_inputs=torch.randn(1, 5, shape.hidden_size),
        ignored_params=norms,
        verbose=False,  # it warns of the norms even so
    )
    module = branch.get_submodule(reader)
    return graph.get_pruning_group(module, tp.prune_linear_in_channels, idxs=columns)


def _cut(group, branch):
    """(module path, axis) -> rows or columns that a group cuts from a linear."""
    names = {id(m): name for name, m in branch.named_modules() if isinstance(m, nn.Linear)}
    return {
        (names[id(dep.target.module)], int(dep.handler == tp.prune_linear_in_channels)): sorted(
            set(indices)
        )
        for dep, indices in group
        if id(dep.target.module) in names
    }


def _removed(family, shape, kv_groups, neurons):
    """(module path, axis) -> rows or columns that surgery cuts from a layer that keeps these."""
    removed = {}
    for projection in family.adapter.projections:
        kept = kept_positions(
            projection, shape, kv_groups if projection.unit == "kv_group" else neurons
        )
        size = len(projection.owners(shape))
        removed[projection.path, projection.axis] = sorted({*range(size)} - {*kept.tolist()})
    return removed


def _all_but(unit, count):
    return tuple(other for other in range(count) if other != unit)


def test_every_unit_hangs_together_as_in_the_dependency_graph(family, branch, prefix):
    shape = family.adapter.language_shape(family.config)
    groups, neurons = shape.num_key_value_heads, shape.intermediate_size
    for unit in range(groups if prefix == "self_attn." else 3):
        kept = _all_but(unit, groups), _all_but(unit, neurons)
        mine = {
            key: cut
            for key, cut in _removed(family, shape, *kept).items()
            if key[0].startswith(prefix)
        }
        assert all(mine.values())
        (reader,) = (path for path, axis in mine if axis == 1)
        if prefix == "self_attn.":  # whole heads: rotary, left out here, ties their channels
            heads = {column // branch.self_attn.head_dim for column in mine[reader, 1]}
            assert len(heads) * branch.self_attn.head_dim == len(mine[reader, 1])
        assert _cut(_pruning_group(branch, shape, reader, mine[reader, 1]), branch) == mine


def test_the_student_has_the_tensors_that_torch_pruning_leaves(family, branch, prefix, plan):
    """Weights and biases, cut by Torch-Pruning in place and by surgery into a new model."""
    kept = plan.kv_groups[LAYER], plan.neurons[LAYER]
    mine = _removed(family, plan.shape, *kept)
    (reader,) = (path for path, axis in mine if axis == 1 and path.startswith(prefix))
    _pruning_group(branch, plan.shape, reader, mine[reader, 1]).prune()
    student = apply_plan(family.model, family.adapter, plan)
    layer = student.get_submodule(family.adapter.layers)[plan.layers.index(LAYER)]
    expected = branch.state_dict()
    found = {name: t for name, t in layer.state_dict().items() if name.startswith(prefix)}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
