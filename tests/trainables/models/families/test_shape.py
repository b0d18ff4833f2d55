"""Counts and owners against counts by hand, and against the modules of every family."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainables.models.families.shape import LanguageShape, Part, Projection

SMALL = LanguageShape(
    hidden_size=6,
    intermediate_size=5,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=3,
    vocab_size=7,
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # q 12x6, k and v 6x6, o 6x12, three 5x6 in the MLP, two norms of 6
        ({}, 72 + 36 + 36 + 72 + 90 + 12),
        ({"biased": ("q", "k", "v")}, 318 + 12 + 6 + 6),
        ({"biased": ("o", "down")}, 318 + 6 + 6),
        ({"biased": ("gate", "up")}, 318 + 5 + 5),
        ({"gated": False}, 318 - 30),
        # Phi: attention and MLP in parallel on one LayerNorm with a bias
        ({"norms_per_layer": 1, "norm_bias": True}, 318),
        ({"qk_norm": True}, 318 + 6),
    ],
)
def test_layer_params_by_hand(changes: dict[str, Any], expected: int) -> None:
    assert SMALL.model_copy(update=changes).layer_params(2, 5) == expected


def test_lm_params_by_hand() -> None:
    kept = [(1, 5), (2, 3)]  # one group less: 36+18+18+36... -> -(36+18+18+36); -2 neurons: -36
    layers = (318 - 108) + (318 - 36)
    assert SMALL.lm_params(kept) == 2 * 42 + 6 + layers
    assert SMALL.model_copy(update={"tie_word_embeddings": True}).lm_params(kept) == 48 + layers
    assert SMALL.model_copy(update={"lm_head_bias": True}).lm_params(kept) == 90 + 7 + layers


@pytest.mark.parametrize(
    ("parts", "axis", "owners"),
    [
        (("q",), 0, [0] * 6 + [1] * 6),  # two query heads of 3 channels per group
        (("k",), 0, [0] * 3 + [1] * 3),
        (("o",), 1, [0] * 6 + [1] * 6),
        (("down",), 1, [0, 1, 2, 3, 4]),
        (("gate", "up"), 0, [0, 1, 2, 3, 4] * 2),
        (("q", "k", "v"), 0, [0] * 6 + [1] * 6 + [0] * 3 + [1] * 3 + [0] * 3 + [1] * 3),
    ],
)
def test_owners_of_plain_and_fused_projections(
    parts: tuple[Part, ...], axis: int, owners: list[int]
) -> None:
    projection = Projection(path="p", parts=parts)
    assert projection.axis == axis
    np.testing.assert_array_equal(projection.owners(SMALL), owners)


def test_lm_params_equal_torchs_own_count(family: Any) -> None:
    shape = family.adapter.language_shape(family.config)
    names = (family.adapter.language_model, family.adapter.lm_head)
    parameters = family.model.named_parameters()  # tied ones once
    assert shape.lm_params() == sum(p.numel() for n, p in parameters if n.startswith(names))


def test_layer_params_equal_torchs_own_count(family: Any) -> None:
    shape = family.adapter.language_shape(family.config)
    dense = shape.num_key_value_heads, shape.intermediate_size
    for layer in family.model.get_submodule(family.adapter.layers):
        assert shape.layer_params(*dense) == sum(p.numel() for p in layer.parameters())


def test_owners_and_biases_fit_the_weights(family: Any) -> None:
    shape = family.adapter.language_shape(family.config)
    layer = family.model.get_submodule(f"{family.adapter.layers}.0")
    units = {"kv_group": shape.num_key_value_heads, "neuron": shape.intermediate_size}
    for projection in family.adapter.projections:
        module, owners = layer.get_submodule(projection.path), projection.owners(shape)
        assert len(owners) == module.weight.shape[projection.axis]
        assert set(owners) == set(range(units[projection.unit]))
        assert projection.has_bias(shape) == (module.bias is not None)
