"""Random scores, and the dense model with the plan's removals masked out instead of cut."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def random_scores() -> Callable[..., Any]:
    """A function that draws scores of all three kinds for a shape."""
    from trainables.pruning.planning.scores import ImportanceScores, ScoreMetadata

    def draw(shape: Any, seed: int = 0, weights_digest: str = "") -> Any:
        rng = np.random.default_rng(seed)
        layers = shape.num_hidden_layers
        return ImportanceScores(
            ScoreMetadata(method="hybrid", weights_digest=weights_digest),
            block=rng.random(layers, dtype=np.float32),
            heads=rng.random((layers, shape.num_key_value_heads), dtype=np.float32),
            neurons=rng.random((layers, shape.intermediate_size), dtype=np.float32),
        )

    return draw


@pytest.fixture(scope="session")
def masked() -> Callable[..., Any]:
    """A function that copies a model, bypasses removed layers and silences removed units.

    A unit is silent when the columns of o and down that read it are zero. Query head h belongs to
    the KV group h // heads_per_group, and channels of a head are neighbours.
    """

    def mask(model: Any, adapter: Any, plan: Any) -> Any:
        model, shape = copy.deepcopy(model), plan.shape
        group = shape.num_attention_heads // shape.num_key_value_heads * shape.head_dim
        readers = {"kv_group": (plan.kv_groups, group), "neuron": (plan.neurons, 1)}
        for index, layer in enumerate(model.get_submodule(adapter.layers)):
            if index not in plan.layers:
                layer.register_forward_hook(_bypass, with_kwargs=True)
                continue
            row = plan.layers.index(index)
            for projection in adapter.projections:
                kept, size = readers[projection.unit]
                if projection.parts[0] not in ("o", "down") or kept is None:
                    continue
                weight = layer.get_submodule(projection.path).weight
                for unit in range(weight.shape[1] // size):
                    if unit not in kept[row]:
                        weight[:, unit * size : (unit + 1) * size] = 0
        return model

    return mask


def _bypass(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], __: Any) -> Any:
    return args[0] if args else kwargs["hidden_states"]
