"""Taylor importance against autograd and a loop over heads and neurons."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from trainables.models.llava import LLAVA_LLAMA
from trainables.pruning.importance import score_importance
from trainables.pruning.taylor import score_taylor
from trainables.specs import PruningSpec


def _by_hand(model, batch):
    """|w * g| of transformers' own loss, summed group by group with plain slices."""
    model = copy.deepcopy(model).requires_grad_(True)
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    model(**inputs, labels=batch["labels"]).loss.backward()
    config = model.config.text_config
    dim, groups = config.head_dim, config.num_key_value_heads
    queries = config.num_attention_heads // groups * dim
    heads, neurons = [], []
    for layer in model.model.language_model.layers:
        product = {n: (p * p.grad).abs().detach().double() for n, p in layer.named_parameters()}
        for g in range(groups):
            own, shared = slice(g * queries, (g + 1) * queries), slice(g * dim, (g + 1) * dim)
            heads.append(
                product["self_attn.q_proj.weight"][own].sum()
                + product["self_attn.k_proj.weight"][shared].sum()
                + product["self_attn.v_proj.weight"][shared].sum()
                + product["self_attn.o_proj.weight"][:, own].sum()
            )
        for n in range(config.intermediate_size):
            neurons.append(
                product["mlp.gate_proj.weight"][n].sum()
                + product["mlp.up_proj.weight"][n].sum()
                + product["mlp.down_proj.weight"][:, n].sum()
            )
    layers = config.num_hidden_layers
    return np.reshape(heads, (layers, groups)), np.reshape(neurons, (layers, -1))


@pytest.mark.parametrize("kv_heads", [8, 4, 1])
def test_equals_the_definition(make_llava, batch, kv_heads):
    model = make_llava(kv_heads=kv_heads, layers=2)
    scores = score_taylor(model, LLAVA_LLAMA, [batch], data_digest="d")
    heads, neurons = _by_hand(model, batch)
    np.testing.assert_allclose(scores.heads, heads, rtol=1e-4)
    np.testing.assert_allclose(scores.neurons, neurons, rtol=1e-4)
    assert scores.heads.dtype == scores.neurons.dtype == np.float32
    assert scores.metadata.tokens == int((batch["labels"][:, 1:] != -100).sum())
    assert scores.metadata.data_digest == "d"


def test_does_not_depend_on_how_the_data_are_cut_into_batches(make_llava, make_batch):
    model, batch = make_llava(kv_heads=4), make_batch(samples=4)
    ones = [{name: tensor[i : i + 1] for name, tensor in batch.items()} for i in range(4)]
    assert len({int((one["labels"] != -100).sum()) for one in ones}) > 1  # unequal weights
    whole = score_taylor(model, LLAVA_LLAMA, [batch])
    parts = score_taylor(model, LLAVA_LLAMA, ones)
    np.testing.assert_allclose(parts.heads, whole.heads, rtol=1e-4)
    np.testing.assert_allclose(parts.neurons, whole.neurons, rtol=1e-4)


def test_leaves_the_model_as_it_was(make_llava, make_batch):
    model = make_llava()
    model.get_submodule(LLAVA_LLAMA.projector).requires_grad_(True)
    before = {n: (p.clone(), p.requires_grad) for n, p in model.named_parameters()}
    score_taylor(model, LLAVA_LLAMA, [make_batch(), make_batch(seed=2)])
    for name, parameter in model.named_parameters():
        weight, required = before[name]
        assert torch.equal(parameter, weight)
        assert parameter.requires_grad == required
        assert parameter.grad is None
        assert not parameter._post_accumulate_grad_hooks


def test_one_pass_over_the_data(make_llava, batch):
    model, calls = make_llava(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    scores = score_taylor(model, LLAVA_LLAMA, [batch])
    assert len(calls) == scores.metadata.batches == 1


def test_no_response(make_llava, batch):
    batch["labels"][:] = -100
    with pytest.raises(ValueError, match="no response token"):
        score_taylor(make_llava(), LLAVA_LLAMA, [batch])


@pytest.mark.parametrize("method", ["layerwise", "widthwise"])
def test_the_spec_chooses_the_method(make_llava, batch, method):
    model = make_llava(layers=2)
    scores = score_importance(model, LLAVA_LLAMA, [batch], PruningSpec(method=method))
    scores.require(LLAVA_LLAMA.language_shape(model.config.to_dict()))
    assert scores.metadata.method == method
