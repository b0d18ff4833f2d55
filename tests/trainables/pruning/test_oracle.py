"""What width pruning cuts against Torch-Pruning's dependency graph, which knows no adapter.

The graph traces a decoder layer and finds by itself which rows and columns of which linears hang
together: starting from the removed columns of `o` (or `down`) it must arrive at the same rows of
the others as the slices of surgery. It traces what a layer computes, so rotary embeddings, norms of
queries and keys, and grouped heads are taken into account by it as they are.
"""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from trainables.pruning.planner import plan_pruning
from trainables.pruning.surgery import kept_positions
from trainables.specs import PruningSpec


class _Mlp(nn.Module):
    """The MLP of a decoder layer alone, on a residual stream."""

    def __init__(self, layer):
        super().__init__()
        self.mlp = layer.mlp

    def forward(self, hidden):
        return hidden + self.mlp(hidden)


def _group(layer, reader, positions, example):
    """Module path -> (pruned rows, pruned columns) when these columns of `reader` go."""
    graph = tp.DependencyGraph().build_dependency(layer, example_inputs=example)
    module = layer.get_submodule(reader)
    group = graph.get_pruning_group(module, tp.prune_linear_in_channels, idxs=positions)
    names = {id(m): name for name, m in layer.named_modules() if isinstance(m, nn.Linear)}
    found = {}
    for dependency, indices in group:
        name = names.get(id(dependency.target.module))
        if name is not None:
            rows = dependency.handler in (tp.prune_linear_out_channels,)
            found[name, 0 if rows else 1] = sorted(set(indices))
    return found


@pytest.fixture
def plan(family, random_scores):
    shape = family.adapter.language_shape(family.config)
    spec = PruningSpec(method="widthwise", ratio=0.3, units="all")
    return plan_pruning(random_scores(shape), shape, spec)


def _removed(family, plan, layer):
    """(module path, axis) -> rows or columns that surgery cuts from a layer."""
    removed = {}
    for projection in family.adapter.projections:
        units = plan.kv_groups if projection.unit == "kv_group" else plan.neurons
        if units is None:
            continue
        size = len(projection.owners(plan.shape))
        kept = set(kept_positions(projection, plan.shape, units[layer]).tolist())
        removed[projection.path, projection.axis] = [i for i in range(size) if i not in kept]
    return removed


def test_neurons_are_those_of_the_dependency_graph(family, plan):
    layer = _Mlp(family.model.get_submodule(family.adapter.layers)[1]).requires_grad_(True)
    example = torch.randn(1, 5, plan.shape.hidden_size)
    mine = {k: v for k, v in _removed(family, plan, 1).items() if k[0].startswith("mlp.")}
    (reader,) = [path for path, axis in mine if axis == 1]
    assert mine
    assert _group(layer, reader, mine[reader, 1], example) == mine
