"""Inference memory against what real passes keep alive and allocate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from trainables.efficiency.measure import stored_bytes
from trainables.efficiency.memory import (
    MIB,
    activation_bytes,
    cache_bytes,
    computed_memory,
    kv_cache_bytes,
    measured_memory,
)
from trainables.efficiency.meta import FusedAttention, LiveBytes, on_meta
from trainables.efficiency.prompt import prompt_inputs
from trainables.models.dense import DenseModel, load_dense
from trainables.models.families import qwen_vl
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.families.registry import EMBEDDED
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.scoring.importance import score_importance
from trainables.pruning.surgery import apply_plan
from trainables.specs import EfficiencySpec, ModelSpec, PruningSpec

SPEC = EfficiencySpec(prompt_tokens=40, new_tokens=5)


@pytest.fixture(scope="module")
def embedded() -> DenseModel:
    """The embedded model, float32 on the CPU; not changed."""
    return load_dense(ModelSpec(path=EMBEDDED))


def allocated_peak(run: Any) -> int:
    """Most bytes that the CPU allocator gave out at once during `run`, by torch's profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        run()
    assert prof.profiler is not None
    events = [e for e in prof.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def cut_student(dense: DenseModel, pruning: PruningSpec) -> tuple[Any, list[int]]:
    """A student cut by random scores, and its KV groups by layer."""
    pruning = pruning.model_copy(
        update={"importance": pruning.importance.model_copy(update={"groups": "random"})}
    )
    scores = score_importance(dense.model, dense.adapter, [], pruning)
    plan = plan_pruning(scores, dense.shape, pruning, dense.weights_digest)
    return apply_plan(dense.model, dense.adapter, plan), [g for g, _ in plan.kept_counts]


def test_activations_are_near_what_a_real_prefill_allocates(embedded: DenseModel) -> None:
    model, adapter = embedded.model, embedded.adapter
    inputs = prompt_inputs(model, adapter, SPEC)
    kept: list[Any] = []

    def prefill() -> None:
        with torch.no_grad():
            kept.append(model(**inputs, use_cache=True, logits_to_keep=1).past_key_values)

    prefill()
    measured = allocated_peak(prefill) - cache_bytes(kept[0])
    computed = activation_bytes(on_meta(model, "sdpa"), adapter, SPEC)
    assert computed == pytest.approx(measured, rel=0.15)


def test_activations_of_every_family_are_near_those_of_a_real_prefill(
    family: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qwen_vl, "PIXELS", 24)
    model, adapter = family.model, family.adapter
    live = LiveBytes()
    with torch.no_grad(), live:
        inputs = prompt_inputs(model, adapter, SPEC)
        out = model(**inputs, use_cache=True, logits_to_keep=1)
    read = sum(tensor.nbytes for tensor in inputs.values())
    measured = live.peak - cache_bytes(out.past_key_values) - read
    computed = activation_bytes(on_meta(model, "sdpa"), adapter, SPEC)
    # At most one layer's keys and values count as both activations and cache.
    assert 0.9 * measured <= computed <= 1.25 * measured


def test_the_cache_of_every_family_is_the_real_one(
    family: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qwen_vl, "PIXELS", 24)
    inputs = prompt_inputs(family.model, family.adapter, SPEC)
    settings = {"max_new_tokens": SPEC.new_tokens, "min_new_tokens": SPEC.new_tokens}
    out = family.model.generate(**inputs, do_sample=False, return_dict_in_generate=True, **settings)
    tokens = inputs["input_ids"].shape[1] + SPEC.new_tokens - 1  # the last one is not read again
    real = cache_bytes(out.past_key_values)
    assert kv_cache_bytes(family.model, family.adapter, tokens) == real
    got = computed_memory(family.model, family.adapter, SPEC, 0, "float32")
    assert got.kv_cache_mib == real / MIB
    half = computed_memory(family.model, family.adapter, SPEC, 0, "bfloat16")
    assert half.kv_cache_mib == got.kv_cache_mib / 2


def test_the_cache_of_layers_with_different_widths(embedded: DenseModel) -> None:
    pruning = PruningSpec(method="widthwise", ratio=0.3, protect_heads=(2, 1), units="all")
    student, groups = cut_student(embedded, pruning)
    shape = embedded.shape
    assert len(set(groups)) > 1
    expected = 2 * sum(groups) * shape.head_dim * 100 * 4
    assert kv_cache_bytes(student, embedded.adapter, 100) == expected


def test_the_parts_add_up_and_say_how(model: Any) -> None:
    weights = stored_bytes(model, "bfloat16")
    got = computed_memory(model, LLAVA_LLAMA, SPEC, weights, "bfloat16")
    assert got.how == "computed"
    assert got.weights_mib == weights / MIB
    assert got.total_mib == pytest.approx(got.weights_mib + got.kv_cache_mib + got.activations_mib)


def test_live_bytes_by_hand() -> None:
    there = torch.zeros(100)
    with LiveBytes() as live:
        view = there[:50]  # of a tensor that was there: nothing new
        assert (live.live, live.peak) == (0, 0)
        first = view + 1
        second = first * 2
        assert live.live == 400
        first = second.view(5, 10)  # drops the first sum
        assert (live.live, live.peak) == (200, 400)
        second.mul_(3)
        del first, second
        assert (live.live, live.peak) == (0, 400)


def test_fused_attention_has_the_shape_of_the_real_one() -> None:
    query, key = torch.randn(2, 4, 7, 8), torch.randn(2, 4, 9, 8)
    value = torch.randn(2, 4, 9, 6)
    real = F.scaled_dot_product_attention(query, key, value)
    with LiveBytes() as live, FusedAttention():
        shape = F.scaled_dot_product_attention(query, key, value=value).shape
    assert shape == real.shape
    assert live.peak == real.nbytes


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_measured_on_a_gpu_is_near_what_is_computed(embedded: DenseModel) -> None:
    weights = stored_bytes(embedded.model)
    got = measured_memory(embedded.model, embedded.adapter, SPEC, weights)
    computed = computed_memory(embedded.model, embedded.adapter, SPEC, weights, "float32")
    assert got.how == "measured"
    assert got.kv_cache_mib == computed.kv_cache_mib
    assert got.total_mib == pytest.approx(computed.total_mib, rel=0.2)
