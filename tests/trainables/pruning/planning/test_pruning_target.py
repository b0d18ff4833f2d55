"""The rules beyond the default: protection, multiples, global ranking, hybrid, sizes, the study."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.shapes import SHAPE

from trainables.models.families.registry import language_shape
from trainables.models.unpruned import Unpruned
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.planning.pruning_target import resolve_target
from trainables.pruning.planning.sizes import flops
from trainables.specs import ModelSpec, PruningSpec, SizeTarget

LLAVA_7B = language_shape(ModelSpec(path="llava-hf/llava-1.5-7b-hf"))
BUNNY_3B = language_shape(ModelSpec(path="BAAI/Bunny-v1_0-3B"))
INTERNVL_4B = language_shape(ModelSpec(path="OpenGVLab/Mini-InternVL-Chat-4B-V1-5"))
UNPRUNED = Unpruned(
    params=1000, flops=1e5, image_tokens=4, prompt_tokens=6, new_tokens=3, bytes_per_weight=2,
    activations=5000,
)  # fmt: skip


def _spec(**changes):
    return PruningSpec(**({"method": "widthwise", "ratio": 0.3} | changes))


@pytest.mark.parametrize(
    ("shape", "ratio", "layers", "heads", "neurons"),
    [
        # Removed by hand: 0.2 of 32 heads is 6.4 -> 6; 0.2 of 11008 neurons is 2201.6 -> 2202.
        (LLAVA_7B, 0.15, 27, 32 - 6, 11008 - 2202),
        (LLAVA_7B, 0.30, 22, 32 - 12, 11008 - 4404),
        (LLAVA_7B, 0.45, 17, 32 - 19, 11008 - 6605),
        (LLAVA_7B, 0.60, 11, 32 - 25, 11008 - 8807),
        # 0.8 of 10240 neurons is 8192, but in floats 10240 * (1 - 0.8) is just below 2048.
        (BUNNY_3B, 0.15, 27, 32 - 6, 10240 - 2048),
        (BUNNY_3B, 0.30, 22, 32 - 12, 10240 - 4096),
        (BUNNY_3B, 0.45, 17, 32 - 19, 10240 - 6144),
        (BUNNY_3B, 0.60, 11, 32 - 25, 10240 - 8192 - 1),
        (INTERNVL_4B, 0.60, 11, 32 - 25, 8192 - 6554),
    ],
)
def test_the_study_preset(shape, ratio, layers, heads, neurons):
    study = {"preset": "study", "ratio": ratio}
    assert resolve_target(shape, _spec(method="layerwise", **study)).layers == layers
    widths = resolve_target(shape, _spec(**study)).widths
    dense = shape.intermediate_size
    assert [g for g, _ in widths] == [32] * 3 + [heads] * 28 + [32]
    assert [n for _, n in widths] == [dense] * 4 + [neurons] * 26 + [dense] * 2


@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        (LLAVA_7B, {"ratio": 0.2}, "at ratios 0.15, 0.3, 0.45, 0.6"),
        (LLAVA_7B, {"ratio": 0.3, "method": "hybrid"}, "layerwise or widthwise"),
        (SHAPE, {"ratio": 0.3}, "for 32 layers, but the model has 6"),
    ],
)
def test_the_study_preset_refuses_what_the_study_has_not(shape, changes, message):
    with pytest.raises(ValueError, match=message):
        resolve_target(shape, _spec(preset="study", **changes))


@pytest.mark.parametrize("ranking", ["local", "global"])
def test_protected_layers_keep_all(random_scores, ranking):
    spec = _spec(protect_heads=(1, 2), protect_neurons=(2, 0), ranking=ranking, ratio=0.2)
    plan = plan_pruning(random_scores(SHAPE), SHAPE, spec)
    groups, neurons = zip(*plan.kept_counts, strict=True)
    assert groups[0] == 4
    assert groups[4:] == (4, 4)
    assert neurons[:2] == (48, 48)
    assert plan.lm_params < plan.lm_params_dense
    with pytest.raises(ValueError, match="protect fewer"):
        resolve_target(SHAPE, _spec(protect_heads=(3, 3), protect_neurons=(6, 0)))


@pytest.mark.parametrize("ranking", ["local", "global"])
@pytest.mark.parametrize("multiple", [1, 5, 16])
def test_neurons_are_multiples_or_all(random_scores, ranking, multiple):
    spec = _spec(neuron_multiple=multiple, ranking=ranking, ratio=0.35)
    plan = plan_pruning(random_scores(SHAPE), SHAPE, spec)
    assert all(n % multiple == 0 or n == 48 for _, n in plan.kept_counts)
    step = multiple * 3 * 32 * (1 if ranking == "global" else 6)
    assert abs(plan.ratio - 0.35) * SHAPE.lm_params() <= step / 2 + 1e-6


def test_units_and_fixed_heads(random_scores):
    fixed = SHAPE.model_copy(update={"fixed_heads": True})
    for shape, units, groups_go, neurons_go in (
        (SHAPE, "auto", True, True),
        (fixed, "auto", False, True),
        (fixed, "all", True, True),
        (SHAPE, "heads", True, False),
        (SHAPE, "neurons", False, True),
    ):
        spec = _spec(units=units, ratio=0.2)
        plan = plan_pruning(random_scores(shape), shape, spec)
        assert (plan.kv_groups is not None, plan.neurons is not None) == (groups_go, neurons_go)


def test_global_ranking_is_by_score_per_parameter(random_scores):
    scores = random_scores(SHAPE)
    group, neuron = 32 * 4 * 2 * 3, 3 * 32
    scores.heads[...], scores.neurons[...] = 5.0 * group, 5.0 * neuron
    scores.heads[2, 1] = scores.heads[4, :] = 1.0 * group  # one of four stays although all are low
    scores.neurons[3, 7:10] = 2.0 * neuron
    gone = 4 * group + 3 * neuron
    spec = _spec(ranking="global", ratio=gone / SHAPE.lm_params())
    plan = plan_pruning(scores, SHAPE, spec)
    assert plan.lm_params == SHAPE.lm_params() - gone
    assert plan.kv_groups[2] == (0, 2, 3)
    assert plan.kv_groups[4] == (0,)
    assert plan.neurons[3] == (*range(7), *range(10, 48))
    assert [len(n) for n in plan.neurons] == [48, 48, 48, 45, 48, 48]


def test_equal_scores_rank_the_same_way_each_time(random_scores):
    scores = random_scores(SHAPE)
    for array in (scores.block, scores.heads, scores.neurons):
        array[...] = 1
    plan = plan_pruning(scores, SHAPE, _spec(ranking="global", ratio=0.3))
    counts = [n for _, n in plan.kept_counts]
    assert counts == sorted(counts, reverse=True)  # later layers go first
    assert all(kept == tuple(range(len(kept))) for kept in (*plan.kv_groups, *plan.neurons))
    spec = _spec(method="layerwise", depth="contiguous", ratio=0.4)
    assert plan_pruning(scores, SHAPE, spec).layers == (0, 1, 2)


def test_a_contiguous_block_has_the_lowest_sum(random_scores):
    scores = random_scores(SHAPE)
    scores.block[...] = np.array([9, 0, 9, 3, 4, 1], dtype=np.float32)
    spec = _spec(method="layerwise", depth="contiguous", ratio=0.3)
    assert plan_pruning(scores, SHAPE, spec).layers == (0, 1, 2, 3)
    greedy = _spec(method="layerwise", ratio=0.3)
    assert plan_pruning(scores, SHAPE, greedy).layers == (0, 2, 3, 4)


def test_layers_that_take_vision_features_stay(random_scores):
    anchored = SHAPE.model_copy(update={"anchored_layers": 2})
    scores = random_scores(anchored)
    scores.block[:2] = 0
    plan = plan_pruning(scores, anchored, _spec(method="layerwise", ratio=0.6))
    assert plan.layers[:2] == (0, 1)
    with pytest.raises(ValueError, match="the first 2 take vision features"):
        resolve_target(anchored, _spec(method="layerwise", ratio=0.78))


def test_hybrid_takes_layers_first_and_meets_the_ratio(random_scores):
    spec = _spec(method="hybrid", ratio=0.4, depth_share=0.6)
    plan = plan_pruning(random_scores(SHAPE), SHAPE, spec)
    assert len(plan.layers) == 4  # a layer is 0.137: 0.24 is nearest to two
    assert plan.uniform
    assert abs(plan.ratio - 0.4) * SHAPE.lm_params() <= 4 * 3 * 32 / 2
    with pytest.raises(ValueError, match="Raise depth_share"):
        resolve_target(SHAPE, _spec(method="hybrid", ratio=0.2, depth_share=0.1))
    with pytest.raises(ValueError, match="nothing for width"):
        resolve_target(SHAPE, _spec(method="hybrid", ratio=0.15, depth_share=0.9))


@pytest.mark.parametrize("method", ["layerwise", "widthwise", "hybrid"])
@pytest.mark.parametrize("unit", list(SizeTarget.model_fields))
def test_sizes_of_the_whole_model(random_scores, method, unit):
    def size_of(kept):
        params = UNPRUNED.params + SHAPE.lm_params(kept)
        tokens = UNPRUNED.image_tokens + UNPRUNED.prompt_tokens
        linear = 64 * 32 + sum(32 * (2 * g * 12 + 3 * n) for g, n in kept)
        work = UNPRUNED.flops + 2 * linear * tokens + sum(4 * g * 8 * tokens**2 for g, _ in kept)
        cached = sum(2 * g * 4 * (4 + 6 + 3 - 1) for g, _ in kept)
        return {
            "params": params,
            "weights_mib": 2 * params / 2**20,
            "tflops": work / 1e12,
            "memory_mib": (2 * params + 2 * cached + 5000) / 2**20,
        }[unit]

    dense = [(4, 48)] * 6
    wanted = 0.7 * size_of(dense)
    size = SizeTarget(**{unit: round(wanted) if unit == "params" else wanted})
    spec = PruningSpec(method=method, size=size)
    plan = plan_pruning(random_scores(SHAPE), SHAPE, spec, unpruned=UNPRUNED)
    assert plan.size_achieved == pytest.approx(size_of(plan.kept_counts), rel=1e-12)
    step = size_of([(4, 48)] * 6) - size_of(
        [(4, 48)] * 5 if method == "layerwise" else [(4, 47)] * 6
    )
    assert 0 <= getattr(size, unit) - plan.size_achieved < step
    assert flops(SHAPE, UNPRUNED).total(dense) == flops(SHAPE, UNPRUNED).dense
    for factor, message in ((1.01, "nothing to remove"), (0.01, f"raise size.{unit} to at least")):
        value = round(factor * size_of(dense)) or 1 if unit == "params" else factor * size_of(dense)
        refused = spec.model_copy(update={"size": SizeTarget(**{unit: value})})
        with pytest.raises(ValueError, match=message):
            resolve_target(SHAPE, refused, UNPRUNED)


def test_steps_too_small_to_take_are_refused():
    with pytest.raises(ValueError, match="steps=9 cannot be taken, because of step 1 ratio"):
        resolve_target(SHAPE, _spec(method="layerwise", ratio=0.3, steps=9))
