"""The student against the dense model with the same parts masked out."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.same_model import same_model

from trainables.models.families.registry import adapter_for
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.scoring.importance import score_importance
from trainables.pruning.surgery import apply_plan
from trainables.specs import PruningSpec

RATIOS = [("layerwise", 0.4), ("widthwise", 0.2), ("widthwise", 0.5)]


@pytest.fixture
def adapter(llava):
    return adapter_for(llava.config.to_dict())


def _plan(model, adapter, batch, method, ratio):
    spec = PruningSpec(method=method, ratio=ratio)
    scores = score_importance(model, adapter, [batch], spec)
    return plan_pruning(scores, adapter.language_shape(model.config.to_dict()), spec)


def _inputs(batch):
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


def _masked(model, plan):
    """The dense model with removed layers bypassed and removed units' outputs set to zero."""
    model = copy.deepcopy(model)
    config = model.config.text_config
    group = config.num_attention_heads // config.num_key_value_heads * config.head_dim
    for index, layer in enumerate(model.model.language_model.layers):
        if index not in plan.layers:
            layer.register_forward_hook(lambda _, args, __: args[0])
            continue
        for g in range(config.num_key_value_heads):
            if plan.kv_groups and g not in plan.kv_groups[index]:
                layer.self_attn.o_proj.weight[:, g * group : (g + 1) * group] = 0
        for n in range(config.intermediate_size):
            if plan.neurons and n not in plan.neurons[index]:
                layer.mlp.down_proj.weight[:, n] = 0
    return model


def _sliced_equals_masked(model, adapter, batch, plan):
    # In double precision: float32's own rounding comes to 1.2e-5 on some processors.
    dense, inputs = copy.deepcopy(model).double(), _inputs(batch)
    inputs["pixel_values"] = inputs["pixel_values"].double()
    logits = apply_plan(dense, adapter, plan)(**inputs).logits
    masked = _masked(dense, plan)(**inputs).logits
    real = batch["attention_mask"].bool()
    assert (logits - masked)[real].abs().max() <= 1e-9
    assert (logits - dense(**inputs).logits)[real].abs().max() > 1e-2


@pytest.mark.parametrize(("method", "ratio"), RATIOS)
def test_masked_dense_equals_sliced(llava, adapter, batch, method, ratio):
    plan = _plan(llava, adapter, batch, method, ratio)
    _sliced_equals_masked(llava, adapter, batch, plan)


@pytest.mark.parametrize("method", ["layerwise", "widthwise"])
def test_ratio_zero_is_the_dense_model(llava, adapter, batch, method):
    student = apply_plan(llava, adapter, _plan(llava, adapter, batch, method, 0.0))
    same_model(student, llava, _inputs(batch))
    assert student.config.to_dict() == llava.config.to_dict()


@pytest.mark.parametrize(("method", "ratio"), RATIOS)
def test_layer_indices_config_and_sizes(llava, adapter, batch, method, ratio):
    plan = _plan(llava, adapter, batch, method, ratio)
    student = apply_plan(llava, adapter, plan)
    groups, neurons = plan.kept_counts[0]
    text, old = student.config.text_config, llava.config.text_config
    heads = groups * old.num_attention_heads // old.num_key_value_heads
    assert text.num_hidden_layers == len(plan.layers) == len(student.model.language_model.layers)
    assert (text.num_attention_heads, text.num_key_value_heads) == (heads, groups)
    assert (text.intermediate_size, text.head_dim) == (neurons, old.head_dim)
    assert text.model_type == ("llama" if heads == old.num_attention_heads else "mistral")
    assert text.rope_parameters == old.rope_parameters
    assert text.rms_norm_eps == old.rms_norm_eps
    assert getattr(text, "sliding_window", None) is None
    assert student.config.text_config is student.model.language_model.config
    for index, layer in enumerate(student.model.language_model.layers):
        attention, mlp = layer.self_attn, layer.mlp
        assert attention.layer_idx == index
        assert attention.num_key_value_groups == heads // groups
        for linear, rows, columns in (
            (attention.q_proj, heads * old.head_dim, 32),
            (attention.k_proj, groups * old.head_dim, 32),
            (attention.v_proj, groups * old.head_dim, 32),
            (attention.o_proj, 32, heads * old.head_dim),
            (mlp.gate_proj, neurons, 32),
            (mlp.up_proj, neurons, 32),
            (mlp.down_proj, 32, neurons),
        ):
            assert linear.weight.shape == (rows, columns)
            assert (linear.out_features, linear.in_features) == (rows, columns)
    names = (adapter.language_model, adapter.lm_head)
    numel = sum(p.numel() for n, p in student.named_parameters() if n.startswith(names))
    assert numel == plan.lm_params


@pytest.mark.parametrize(("method", "ratio"), RATIOS)
def test_cached_and_uncached_generation_agree(llava, adapter, batch, method, ratio):
    student = apply_plan(llava, adapter, _plan(llava, adapter, batch, method, ratio))
    prompt = {name: t[:1, :9] if name != "pixel_values" else t[:1] for name, t in batch.items()}
    prompt = _inputs(prompt)
    settings = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    cached = student.generate(**prompt, **settings, use_cache=True)
    assert torch.equal(cached, student.generate(**prompt, **settings, use_cache=False))
    # Greedy by hand: a full forward pass for every token.
    ids = prompt["input_ids"]
    for _ in range(12):
        mask = torch.ones_like(ids)
        logits = student(input_ids=ids, attention_mask=mask, pixel_values=prompt["pixel_values"])
        last = logits.logits[:, -1]
        last[:, 2] = -torch.inf  # the end-of-sequence token, as min_new_tokens does
        ids = torch.cat([ids, last.argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(cached, ids)


@pytest.mark.parametrize(("method", "ratio"), RATIOS)
def test_saved_student_loads_with_plain_transformers(
    llava, adapter, batch, method, ratio, tmp_path
):
    from transformers import LlavaForConditionalGeneration

    student = apply_plan(llava, adapter, _plan(llava, adapter, batch, method, ratio))
    student.save_pretrained(tmp_path)
    loaded, info = LlavaForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    same_model(loaded, student, _inputs(batch))


def test_dense_model_and_random_state_are_left_alone(llava, adapter, batch):
    before = copy.deepcopy(llava.state_dict())
    config = llava.config.to_dict()
    plan = _plan(llava, adapter, batch, "widthwise", 0.5)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    student = apply_plan(llava, adapter, plan)
    assert torch.equal(torch.rand(3), expected)
    for parameter in student.parameters():
        parameter.data.add_(1)  # shares no memory with the dense model
    for buffer in student.buffers():
        buffer.add_(1)
    assert all(torch.equal(t, before[name]) for name, t in llava.state_dict().items())
    assert llava.config.to_dict() == config
    whole = apply_plan(llava, adapter, _plan(llava, adapter, batch, "layerwise", 0.0))
    same_model(whole, llava, _inputs(batch))


def test_tied_student_stays_tied(make_llava, batch):
    model = make_llava(tied=True)
    adapter = adapter_for(model.config.to_dict())
    student = apply_plan(model, adapter, _plan(model, adapter, batch, "layerwise", 0.4))
    embed = student.model.language_model.embed_tokens
    assert student.lm_head.weight is embed.weight


def test_student_trains(llava, adapter, batch):
    student = apply_plan(llava, adapter, _plan(llava, adapter, batch, "widthwise", 0.5))
    assert not student.training
    assert not any(p.requires_grad for p in student.parameters())
    student.requires_grad_(True)
    student(**batch).loss.backward()
    weight = student.model.language_model.layers[0].self_attn.q_proj.weight
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


def test_type_of_the_dense_model_is_kept_and_rotary_frequencies_stay_float32(make_llava, batch):
    model = make_llava().to(torch.bfloat16)
    rotary = model.model.language_model.rotary_emb
    rotary.inv_freq = torch.rand_like(rotary.inv_freq, dtype=torch.float32)
    adapter = adapter_for(model.config.to_dict())
    plan = _plan(make_llava(), adapter, batch, "widthwise", 0.4)
    student = apply_plan(model, adapter, plan)
    assert {p.dtype for p in student.parameters()} == {torch.bfloat16}
    assert torch.equal(student.model.language_model.rotary_emb.inv_freq, rotary.inv_freq)


def test_plan_of_another_model_is_refused(make_llava, batch):
    model = make_llava(layers=4)
    adapter = adapter_for(model.config.to_dict())
    plan = _plan(model, adapter, batch, "layerwise", 0.4)
    with pytest.raises(ValueError, match="4 layers and width 32, the model has 3"):
        apply_plan(make_llava(layers=3), adapter, plan)


def test_a_student_of_unequal_widths_is_not_pruned_again(make_llava, batch):
    model = make_llava()
    adapter = adapter_for(model.config.to_dict())
    plan = _plan(model, adapter, batch, "widthwise", 0.4)
    uneven = plan.model_copy(update={"neurons": (plan.neurons[0][:-1], *plan.neurons[1:])})
    student = apply_plan(model, adapter, uneven)
    with pytest.raises(ValueError, match="differ in width already"):
        apply_plan(student, adapter, plan)
    same = apply_plan(student, adapter, _plan(model, adapter, batch, "layerwise", 0.0))
    same_model(same, student, _inputs(batch))


def test_a_pruned_student_can_be_pruned_again(make_llava, batch):
    model = make_llava(layers=6)
    adapter = adapter_for(model.config.to_dict())
    once = apply_plan(model, adapter, _plan(model, adapter, batch, "widthwise", 0.3))
    again = adapter_for(once.config.to_dict())
    assert again.name == "llava-mistral"
    plan = _plan(once, again, batch, "widthwise", 0.3)
    _sliced_equals_masked(once, again, batch, plan)


def test_a_layer_of_two_sources_is_their_mean(llava, adapter, batch):
    plan = _plan(llava, adapter, batch, "layerwise", 0.3)
    first, second = plan.layers[:2]
    sources = ((first, second), *plan.sources[2:])
    merged = plan.model_copy(update={"sources": sources})
    assert merged.digest != plan.model_copy(update={"sources": plan.sources[1:]}).digest
    assert merged.layers == plan.layers[1:]
    student = apply_plan(llava, adapter, merged)
    layers = [dict(layer.named_parameters()) for layer in llava.model.language_model.layers]
    for name, weight in student.model.language_model.layers[0].named_parameters():
        expected = (layers[first][name] + layers[second][name]) / 2
        assert torch.allclose(weight, expected, atol=1e-7), name
    for name, weight in student.model.language_model.layers[1].named_parameters():
        assert torch.equal(weight, layers[plan.layers[2]][name]), name
