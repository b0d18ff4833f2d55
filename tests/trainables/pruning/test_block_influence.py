"""Block influence against hidden states that transformers itself hands out."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch

from trainables.models.llava import LLAVA_LLAMA
from trainables.pruning.block_influence import score_block_influence


def _by_hand(model, batches):
    """1 - mean cos over all real tokens, in float64, one sample and token at a time."""
    bare = copy.deepcopy(model)
    bare.model.language_model.norm = torch.nn.Identity()  # so that the last state is the layer's
    values = []
    for batch in batches:
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        states = bare(**inputs, output_hidden_states=True).hidden_states
        for row, token in batch["attention_mask"].nonzero().tolist():
            track = [state[row, token].double() for state in states]
            cosines = [(a @ b / (a.norm() * b.norm())).item() for a, b in itertools.pairwise(track)]
            values.append([1 - cosine for cosine in cosines])
    return np.mean(values, axis=0)


def test_equals_the_definition(make_llava, make_batch):
    model, batches = make_llava(layers=2), [make_batch(), make_batch(samples=2, seed=5)]
    scores = score_block_influence(model, LLAVA_LLAMA, batches, weights_digest="w")
    np.testing.assert_allclose(scores.block, _by_hand(model, batches), atol=1e-6)
    assert scores.block.dtype == np.float32
    assert scores.metadata.tokens == sum(int(b["attention_mask"].sum()) for b in batches)
    assert (scores.metadata.samples, scores.metadata.weights_digest) == (5, "w")


def test_padding_does_not_count(make_llava, make_batch):
    model, batch = make_llava(), make_batch()
    padded = {
        name: torch.nn.functional.pad(tensor, (0, 5)) if name != "pixel_values" else tensor
        for name, tensor in batch.items()
    }
    plain = score_block_influence(model, LLAVA_LLAMA, [batch]).block
    more = score_block_influence(model, LLAVA_LLAMA, [padded]).block
    np.testing.assert_allclose(more, plain, atol=1e-6)


def test_a_layer_that_changes_nothing_has_no_influence(make_llava, batch):
    model = make_llava()
    layer = model.get_submodule(f"{LLAVA_LLAMA.layers}.2")
    layer.self_attn.o_proj.weight.zero_()
    layer.mlp.down_proj.weight.zero_()
    block = score_block_influence(model, LLAVA_LLAMA, [batch]).block
    assert abs(block[2]) < 1e-6
    assert (np.delete(block, 2) > 1e-3).all()


def test_one_forward_pass_scores_all_layers_and_leaves_no_hook(make_llava, batch):
    model, calls = make_llava(), []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    scores = score_block_influence(model, LLAVA_LLAMA, [batch])
    assert len(calls) == scores.metadata.batches == 1
    handle.remove()

    def hooks():  # transformers hangs on some of its own at the first forward pass
        return sum(len(module._forward_hooks) for module in model.modules())

    before = hooks()
    score_block_influence(model, LLAVA_LLAMA, [batch])
    assert hooks() == before


def test_no_data():
    with pytest.raises(ValueError, match="no calibration batches"):
        score_block_influence(torch.nn.Module(), LLAVA_LLAMA, [])
