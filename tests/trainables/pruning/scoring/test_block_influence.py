"""Block influence against hidden states that transformers itself hands out."""

from __future__ import annotations

import copy
import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.distributed as dist

from trainables.models.families.llava import LLAVA_LLAMA
from trainables.pruning.scoring.block_influence import score_block_influence
from trainables.pruning.scoring.importance import score_importance
from trainables.specs import ImportanceSpec, PruningSpec


def _states(model, adapter, batch):
    """(input, own output) of every layer and the state after the final norm, float64."""
    model, seen, norm = copy.deepcopy(model).double(), {}, []
    for index, layer in enumerate(model.get_submodule(adapter.layers)):

        def hook(_, args, kwargs, output, index=index):
            before = args[0] if args else kwargs["hidden_states"]
            seen[index] = before, output[0] if isinstance(output, tuple) else output

        layer.register_forward_hook(hook, with_kwargs=True)
    model.get_submodule(adapter.final_norm).register_forward_hook(
        lambda _, __, output: norm.append(output)
    )
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    model(**inputs | {"pixel_values": inputs["pixel_values"].double()})
    return [seen[index] for index in sorted(seen)], norm[0]


def _mean(pairs, mask, angular=False):
    """Mean distance of every pair over the covered tokens, one token at a time."""
    values = []
    for row, token in mask.nonzero().tolist():
        track = [(a[row, token], b[row, token]) for a, b in pairs]
        cosines = [(a @ b / (a.norm() * b.norm())).item() for a, b in track]
        values.append([math.acos(c) / math.pi if angular else 1 - c for c in cosines])
    return np.mean(values, axis=0)


@torch.no_grad()
def test_every_family_and_choice_of_tokens(family):
    batch = family.batch
    pairs, after_norm = _states(family.model, family.adapter, batch)
    present = batch["attention_mask"].bool()
    image = batch["input_ids"] == family.model.config.image_token_id
    masks = {
        "all": present,
        "text": present & ~image,
        "image": present & image,
        "response": present & (batch["labels"] != -100),
    }
    for tokens, mask in masks.items():
        spec = ImportanceSpec(tokens=tokens)
        scores = score_block_influence(family.model, family.adapter, [batch], spec)
        np.testing.assert_allclose(scores.block, _mean(pairs, mask), atol=2e-6)
        assert scores.metadata.tokens == int(mask.sum())
    angular = ImportanceSpec(distance="angular")
    scores = score_block_influence(family.model, family.adapter, [batch], angular)
    np.testing.assert_allclose(scores.block, _mean(pairs, present, angular=True), atol=2e-6)
    study = score_block_influence(
        family.model, family.adapter, [batch], ImportanceSpec(last_output="after_norm")
    )
    pairs[-1] = pairs[-1][0], after_norm
    np.testing.assert_allclose(study.block, _mean(pairs, present), atol=2e-6)
    assert study.metadata.settings["last_output"] == "after_norm"


def test_equals_hidden_states_of_transformers(make_llava, make_batch):
    model, batches = make_llava(layers=2), [make_batch(), make_batch(samples=2, seed=5)]
    layerwise = PruningSpec(method="layerwise")
    scores = score_importance(model, LLAVA_LLAMA, batches, layerwise, weights_digest="w")
    bare = copy.deepcopy(model)
    bare.model.language_model.norm = torch.nn.Identity()  # so that the last state is the layer's
    parts = []
    for batch in batches:
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        states = bare(**inputs, output_hidden_states=True).hidden_states
        pairs = list(itertools.pairwise(state.double() for state in states))
        parts.append((_mean(pairs, batch["attention_mask"]), int(batch["attention_mask"].sum())))
    by_hand = sum(mean * tokens for mean, tokens in parts) / sum(tokens for _, tokens in parts)
    np.testing.assert_allclose(scores.block, by_hand, atol=1e-6)
    assert scores.block.dtype == np.float32
    assert scores.metadata.tokens == sum(int(b["attention_mask"].sum()) for b in batches)
    assert (scores.metadata.samples, scores.metadata.weights_digest) == (5, "w")
    turned = score_block_influence(model, LLAVA_LLAMA, batches[::-1])
    np.testing.assert_allclose(turned.block, scores.block, rtol=1e-6)


def test_two_workers_score_as_one(make_llava, make_batch):
    model, shared = make_llava(), dist.HashStore()
    shares = [[make_batch()], [make_batch(samples=2, seed=5), make_batch(samples=1, seed=6)]]

    def work(rank):
        group = dist.ProcessGroupGloo(shared, rank, 2)
        return score_block_influence(
            copy.deepcopy(model),
            LLAVA_LLAMA,
            shares[rank],
            combine=lambda tensor: group.allreduce([tensor]).wait(),
        )

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, range(2))
    alone = score_block_influence(model, LLAVA_LLAMA, shares[0] + shares[1])
    assert first.metadata == second.metadata == alone.metadata
    np.testing.assert_array_equal(first.block, second.block)
    np.testing.assert_allclose(first.block, alone.block, rtol=1e-6)


def test_padding_does_not_count(make_llava, make_batch):
    model, batch = make_llava(), make_batch()
    padded = {
        name: torch.nn.functional.pad(tensor, (0, 5)) if name != "pixel_values" else tensor
        for name, tensor in batch.items()
    }
    plain = score_block_influence(model, LLAVA_LLAMA, [batch]).block
    more = score_block_influence(model, LLAVA_LLAMA, [padded]).block
    np.testing.assert_allclose(more, plain, atol=1e-6)


@pytest.mark.parametrize("distance", ["cosine", "angular"])
def test_a_layer_that_changes_nothing_has_no_influence(make_llava, batch, distance):
    model = make_llava()
    layer = model.get_submodule(f"{LLAVA_LLAMA.layers}.2")
    layer.self_attn.o_proj.weight.zero_()
    layer.mlp.down_proj.weight.zero_()
    spec = ImportanceSpec(distance=distance)
    block = score_block_influence(model, LLAVA_LLAMA, [batch], spec).block
    assert 0 <= block[2] < (1e-6 if distance == "cosine" else 2e-4)  # arccos near 1 is steep
    assert (np.delete(block, 2) > 1e-3).all()


@torch.no_grad()
def test_norms_whose_product_float16_cannot_hold(make_llava, batch):
    model = make_llava(layers=2)
    model.get_submodule(LLAVA_LLAMA.embed).weight.mul_(1000)
    for layer in model.get_submodule(LLAVA_LLAMA.layers):
        layer.self_attn.o_proj.weight.mul_(300)
    half, text = model.half(), batch["input_ids"] != model.config.image_token_id
    mask = batch["attention_mask"].bool() & text
    block = score_block_influence(half, LLAVA_LLAMA, [batch], ImportanceSpec(tokens="text")).block
    pairs, _ = _states(half, LLAVA_LLAMA, batch)
    for before, after in pairs:
        assert torch.isinf(before.half().norm(dim=-1) * after.half().norm(dim=-1))[mask].all()
    by_hand = _mean(pairs, mask)
    assert (by_hand > 1e-3).all()
    np.testing.assert_allclose(block, by_hand, rtol=0.02)


def test_one_forward_pass_scores_all_layers_and_leaves_no_hook(make_llava, batch):
    model, calls = make_llava(), []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    scores = score_block_influence(model, LLAVA_LLAMA, [batch])
    assert len(calls) == scores.metadata.batches == 1
    handle.remove()

    def hooks():  # transformers hangs on some of its own at the first forward pass
        return sum(len(module._forward_hooks) for module in model.modules())

    before = hooks()
    score_block_influence(model, LLAVA_LLAMA, [batch], ImportanceSpec(last_output="after_norm"))
    assert hooks() == before
    model.get_submodule(LLAVA_LLAMA.lm_head).weight = None
    with pytest.raises(TypeError):
        score_block_influence(model, LLAVA_LLAMA, [batch], ImportanceSpec(last_output="after_norm"))
    assert hooks() == before


def test_bad_data_and_weights(make_llava, batch):
    with pytest.raises(ValueError, match="no calibration batches"):
        score_block_influence(torch.nn.Module(), LLAVA_LLAMA, [])
    text = {name: tensor for name, tensor in batch.items() if name != "pixel_values"}
    with pytest.raises(ValueError, match="none of the 3 calibration samples has an image"):
        score_block_influence(make_llava(), LLAVA_LLAMA, [text])
    batch["labels"][:] = -100
    with pytest.raises(ValueError, match="tokens='response' covers no token"):
        score_block_influence(make_llava(), LLAVA_LLAMA, [batch], ImportanceSpec(tokens="response"))
    broken = make_llava()
    broken.get_parameter(f"{LLAVA_LLAMA.layers}.1.mlp.up_proj.weight")[0, 0] = torch.nan
    with pytest.raises(ValueError, match="block influence of layer 1 is NaN"):
        score_block_influence(broken, LLAVA_LLAMA, [batch])
