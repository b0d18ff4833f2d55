"""Any valid plan of any family gives a student that runs, exports, reloads and generates."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from helpers.same_model import same_model
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from trainables.common.weights import read_config
from trainables.models.resized import resized_class
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.planning.pruning_target import resolve_target
from trainables.pruning.surgery import apply_plan, is_stock
from trainables.specs import PruningSpec

FAMILY_NAMES = [
    "llava-llama",
    "llava-phi",
    "llava-next-mistral",
    "qwen2-vl",
    "qwen3-vl",
    "internvl-phi3",
    "smolvlm",
]
SPECS = st.builds(
    PruningSpec,
    method=st.sampled_from(["layerwise", "widthwise", "hybrid"]),
    ratio=st.floats(0.05, 0.75),
    units=st.sampled_from(["auto", "all", "heads", "neurons"]),
    ranking=st.sampled_from(["local", "global"]),
    depth=st.sampled_from(["greedy", "contiguous"]),
    depth_share=st.floats(0.2, 0.8),
    protect_heads=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    protect_neurons=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    neuron_multiple=st.sampled_from([1, 8]),
)
QUICK = settings(
    deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


def _plan(scores, shape, spec):
    try:
        resolve_target(shape, spec)
    except ValueError:
        assume(False)
    return plan_pruning(scores, shape, spec)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_any_plan(name, families, random_scores):
    import transformers

    family = families[name]()
    shape = family.adapter.language_shape(family.config)
    scores = random_scores(shape)
    inputs = {k: v for k, v in family.batch.items() if k != "labels"}
    stock = getattr(transformers, family.adapter.model_class)

    @settings(QUICK, max_examples=4)
    @given(spec=SPECS)
    def check(spec):
        plan = _plan(scores, shape, spec)
        student = apply_plan(family.model, family.adapter, plan)
        logits = student(**inputs).logits
        assert torch.isfinite(logits).all()
        with tempfile.TemporaryDirectory() as folder:
            student.save_pretrained(folder)
            kind = stock if is_stock(plan) else resized_class(stock)
            config = kind.config_class.from_dict(read_config(Path(folder)))
            loaded = kind.from_pretrained(folder, config=config)
        same_model(loaded, student, inputs)
        new = {"max_new_tokens": 2, "do_sample": False, "suppress_tokens": [60, 61, 62, 63]}
        assert torch.equal(loaded.generate(**inputs, **new), student.generate(**inputs, **new))

    check()


def test_invariants_of_plans(families, random_scores):
    shape = families["llava-llama"]().adapter.language_shape(families["llava-llama"]().config)
    scores = random_scores(shape)

    @settings(QUICK, max_examples=150)
    @given(spec=SPECS)
    def check(spec):
        plan = _plan(scores, shape, spec)
        counts, layers = plan.kept_counts, len(plan.layers)
        assert plan.lm_params == shape.lm_params(counts)
        assert plan == plan_pruning(scores, shape, spec)  # the same each time
        (a, b), (c, d) = spec.protect_heads, spec.protect_neurons
        if spec.method != "layerwise":
            assert all(
                g == shape.num_key_value_heads for g, _ in (*counts[:a], *counts[layers - b :])
            )
            assert all(
                n == shape.intermediate_size for _, n in (*counts[:c], *counts[layers - d :])
            )
        for groups, neurons in counts:
            assert 1 <= groups
            assert neurons % spec.neuron_multiple == 0
            assert spec.neuron_multiple <= neurons <= shape.intermediate_size
        if spec.method == "widthwise" and spec.units in ("auto", "all", "neurons"):
            free = layers - c - d if spec.ranking == "local" else 1
            step = spec.neuron_multiple * 3 * shape.hidden_size * max(free, 1)
            whole = any(n > spec.neuron_multiple for _, n in counts)
            if whole and plan.neurons is not None:
                group = shape.layer_params(2, 1) - shape.layer_params(1, 1)
                room = max(step, 0 if spec.ranking == "global" else group)
                assert abs(plan.ratio - spec.ratio) * shape.lm_params() <= room

    check()


@pytest.mark.parametrize("method", ["layerwise", "widthwise"])
def test_more_is_removed_for_a_higher_ratio(method, families):
    family = families["llava-llama"]()
    shape = family.adapter.language_shape(family.config)
    neuron = 3 * shape.hidden_size * shape.num_hidden_layers

    @settings(QUICK, max_examples=100)
    @given(low=st.floats(0.15, 0.6), more=st.floats(0.0, 0.08))
    def check(low, more):
        one, other = (
            resolve_target(shape, PruningSpec(method=method, ratio=ratio))
            for ratio in (low, low + more)
        )
        assert other.lm_params <= one.lm_params + neuron

    check()
