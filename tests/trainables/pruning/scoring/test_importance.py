"""Baselines, and which criterion each spec is scored by."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from trainables.models.families.llava import LLAVA_LLAMA
from trainables.pruning.planning.methods import (
    canonical_importance,
    criteria,
    effective_importance,
)
from trainables.pruning.scoring.baselines import score_activation
from trainables.pruning.scoring.importance import score_importance
from trainables.specs import ImportanceSpec, PruningSpec

CRITERIA = ("taylor", "magnitude", "activation", "random")


@torch.no_grad()
def test_activation_of_every_family_by_hand(family):
    spec, (batch, adapter) = ImportanceSpec(tokens="text"), (family.batch, family.adapter)
    scores = score_activation(family.model, adapter, [batch], spec)
    model, seen = copy.deepcopy(family.model), {}
    paths = {projection.parts[0]: projection.path for projection in adapter.projections}
    for part in ("o", "down"):
        for index, layer in enumerate(model.get_submodule(adapter.layers)):
            layer.get_submodule(paths[part]).register_forward_pre_hook(
                lambda _, args, key=(part, index): seen.update({key: args[0].double()})
            )
    model(**{name: tensor for name, tensor in batch.items() if name != "labels"})
    image = batch["input_ids"] == family.model.config.image_token_id
    mask = batch["attention_mask"].bool() & ~image
    groups = family.model.config.text_config.num_key_value_heads
    for index in range(len(scores.heads)):
        heads = seen["o", index][mask].unflatten(-1, (groups, -1)).norm(dim=-1).mean(dim=0)
        np.testing.assert_allclose(scores.heads[index], heads, rtol=1e-5)
        neurons = seen["down", index][mask].abs().mean(dim=0)
        np.testing.assert_allclose(scores.neurons[index], neurons, rtol=1e-5)
    assert scores.metadata.tokens == int(mask.sum())


def test_activation_of_float16_beyond_its_range(make_llava, batch):
    model = make_llava(layers=2)
    for layer in model.get_submodule(LLAVA_LLAMA.layers):
        layer.mlp.up_proj.weight.mul_(1000)
        layer.mlp.down_proj.weight.mul_(1e-4)
    exact = score_activation(model, LLAVA_LLAMA, [batch], ImportanceSpec()).neurons
    half = score_activation(model.half(), LLAVA_LLAMA, [batch], ImportanceSpec()).neurons
    assert (exact.max(axis=1) ** 2 > 65504).all()
    np.testing.assert_allclose(half, exact, rtol=0.1, atol=0.02 * exact.max())


def test_random_scores_depend_on_the_seed_alone(make_llava, batch):
    spec = PruningSpec(method="widthwise", importance=ImportanceSpec(groups="random"))
    scores = [
        score_importance(make_llava(seed=weights), LLAVA_LLAMA, [], spec, seed=seed)
        for weights, seed in ((0, 3), (1, 3), (0, 4))
    ]
    np.testing.assert_array_equal(scores[0].neurons, scores[1].neurons)
    assert not np.array_equal(scores[0].neurons, scores[2].neurons)
    assert len(np.unique(scores[0].neurons)) == scores[0].neurons.size
    assert [s.metadata.seed for s in scores] == [3, 3, 4]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_other_criteria_rank_layers_by_the_sum_of_their_groups(make_llava, batch, criterion):
    model = make_llava(kv_heads=4)
    importance = ImportanceSpec(layers=criterion, groups=criterion)
    deep, wide, both = (
        score_importance(
            model, LLAVA_LLAMA, [batch], PruningSpec(method=m, importance=importance), seed=5
        )
        for m in ("layerwise", "widthwise", "hybrid")
    )
    sums = wide.heads.sum(1, dtype=np.float64) + wide.neurons.sum(1, dtype=np.float64)
    np.testing.assert_allclose(deep.block, sums, rtol=1e-6)
    assert deep.heads is None
    assert wide.block is None
    for name, scores in (("block", deep), ("heads", wide), ("neurons", wide)):
        np.testing.assert_array_equal(getattr(both, name), getattr(scores, name))
    shape = LLAVA_LLAMA.language_shape(model.config.to_dict())
    for scores, method in ((deep, "layerwise"), (wide, "widthwise"), (both, "hybrid")):
        scores.require(shape)
        assert scores.metadata.method == method


@pytest.mark.parametrize("layers", ["block_influence", "taylor"])
def test_hybrid_takes_one_pass_for_each_criterion(make_llava, batch, layers):
    model, calls = make_llava(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    spec = PruningSpec(method="hybrid", importance=ImportanceSpec(layers=layers))
    scores = score_importance(
        model, LLAVA_LLAMA, [batch], spec, weights_digest="w", data_digest="d"
    )
    assert len(calls) == len(criteria(spec)) == (2 if layers == "block_influence" else 1)
    assert set(scores.metadata.settings) == {"layers", "groups"}
    assert scores.metadata.settings["layers"]["criterion"] == layers
    assert (scores.metadata.weights_digest, scores.metadata.data_digest) == ("w", "d")


def test_the_study_takes_its_own_settings(make_llava, batch):
    model = make_llava()
    model.get_submodule(LLAVA_LLAMA.final_norm).weight[::2] = 3.0
    given = ImportanceSpec(
        layers="random", groups="random", taylor="per_sample", tokens="image", reduction="max",
        samples=99, batch_size=4,
    )  # fmt: skip
    for method in ("layerwise", "widthwise", "hybrid"):
        spec = PruningSpec(method=method, preset="study", importance=given)
        expected = ImportanceSpec(
            last_output="after_norm",
            biases=False,
            samples=50 if method == "layerwise" else 10,
            batch_size=4,
        )
        assert effective_importance(spec) == expected
        study = score_importance(model, LLAVA_LLAMA, [batch], spec)
        own_output = expected.model_copy(update={"last_output": "own"})
        plain = spec.model_copy(update={"preset": None, "importance": own_output})
        ours = score_importance(model, LLAVA_LLAMA, [batch], plain)
        if method != "layerwise":
            np.testing.assert_array_equal(study.neurons, ours.neurons)
        if method != "widthwise":  # the last layer alone is taken after the final norm
            np.testing.assert_array_equal(study.block[:-1], ours.block[:-1])
            assert study.block[-1] != ours.block[-1]


def test_idle_settings_are_not_in_the_canonical_form():
    def form(method, **importance):
        spec = PruningSpec(method=method, ratio=0.3, importance=ImportanceSpec(**importance))
        return canonical_importance(spec)

    assert form("layerwise", taylor="per_sample", biases=False) == form("layerwise")
    assert form("layerwise", groups="magnitude") == form("layerwise")
    assert form("layerwise", tokens="image") != form("layerwise")
    assert form("widthwise", tokens="image", distance="angular") == form("widthwise")
    assert form("widthwise", reduction="max") != form("widthwise")
    assert form("widthwise", groups="magnitude", samples=3) == form("widthwise", groups="magnitude")
    assert form("widthwise", samples=3) != form("widthwise")
    assert form("hybrid", distance="angular") != form("hybrid") != form("widthwise")
    study = PruningSpec(preset="study", importance=ImportanceSpec(samples=3))
    assert canonical_importance(study) == canonical_importance(PruningSpec(preset="study"))
    assert canonical_importance(study) != form("layerwise", samples=50)
