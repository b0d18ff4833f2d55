"""Every family through plan, surgery, generation, export and reload, by every method."""

from __future__ import annotations

import copy
import json

import pytest
import torch
import transformers
from helpers.same_model import same_model
from transformers import AutoModelForImageTextToText

from trainables.common.weights import read_config
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.surgery import apply_plan, is_stock
from trainables.specs import PruningSpec

PLANS = {
    "layerwise": {"method": "layerwise", "ratio": 0.3},
    "widthwise": {"method": "widthwise", "ratio": 0.3},
    "global": {"method": "widthwise", "ratio": 0.3, "ranking": "global", "units": "all"},
    "hybrid": {"method": "hybrid", "ratio": 0.4, "units": "all", "protect_heads": (1, 0)},
}


@pytest.fixture(params=PLANS)
def plan(request, family, random_scores):
    shape = family.adapter.language_shape(family.config)
    return plan_pruning(random_scores(shape), shape, PruningSpec(**PLANS[request.param]))


@pytest.fixture(autouse=True)
def _own_module_cache(tmp_path, monkeypatch):
    """Remote code is copied before it runs; not into the user's cache."""
    for module in (transformers.dynamic_module_utils, transformers.utils.hub):
        monkeypatch.setattr(module, "HF_MODULES_CACHE", str(tmp_path / "modules"), raising=False)


def _inputs(batch):
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


def _prompt(family):
    """The first sample, which has no padding, without its last tokens."""
    cut = {"input_ids", "attention_mask", "mm_token_type_ids"}
    prompt = {}
    for name, tensor in _inputs(family.batch).items():
        share = len(tensor) // len(family.batch["input_ids"])  # of one sample: patches, or 1
        prompt[name] = tensor[:share, :12] if name in cut else tensor[:share]
    return prompt


def test_masked_dense_equals_sliced(family, plan, masked):
    # In double precision: float32's own rounding comes to 1.2e-5 on some processors.
    inputs, real = _inputs(family.batch), family.batch["attention_mask"].bool()
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
    dense = copy.deepcopy(family.model).double()
    student = apply_plan(dense, family.adapter, plan)
    logits = student(**inputs).logits
    expected = masked(dense, family.adapter, plan)(**inputs).logits
    assert (logits - expected)[real].abs().max() <= 1e-9
    assert (logits - dense(**inputs).logits)[real].abs().max() > 1e-2
    names = (family.adapter.language_model, family.adapter.lm_head)
    parameters = {id(p): p for n, p in student.named_parameters() if n.startswith(names)}
    assert sum(p.numel() for p in parameters.values()) == plan.lm_params


def test_indices_config_and_sizes_are_those_of_the_plan(family, plan):
    student = apply_plan(family.model, family.adapter, plan)
    text, shape = student.config.get_text_config(), plan.shape
    layers = student.get_submodule(family.adapter.layers)
    assert len(layers) == text.num_hidden_layers == len(plan.layers)
    for index, (layer, (groups, neurons)) in enumerate(zip(layers, plan.kept_counts, strict=True)):
        attention = layer.self_attn
        assert attention.layer_idx == index
        assert attention.num_key_value_groups == shape.heads_per_group
        assert attention.head_dim == shape.head_dim
        query = groups * shape.heads_per_group * shape.head_dim
        sizes = {"q": query, "k": groups * shape.head_dim, "v": groups * shape.head_dim}
        sizes |= {"o": query, "gate": neurons, "up": neurons, "down": neurons}
        for projection in family.adapter.projections:
            linear = layer.get_submodule(projection.path)
            expected = [shape.hidden_size, shape.hidden_size]
            expected[projection.axis] = sum(sizes[part] for part in projection.parts)
            assert list(linear.weight.shape) == expected
            assert [linear.out_features, linear.in_features] == expected
        if is_stock(plan):
            heads = (groups * shape.heads_per_group, groups)
            assert (text.num_attention_heads, text.num_key_value_heads) == heads
            assert text.intermediate_size == neurons
    assert (student.lm_head.weight is student.get_input_embeddings().weight) == (
        shape.tie_word_embeddings
    )


def test_an_export_names_what_it_is(family, plan, tmp_path):
    """The dense language model's own name and class do not stay where they are true no more."""
    backbone = family.adapter.backbone.model_type
    old = {"architectures": ["Mine"], "_name_or_path": "someone/their-language-model"}
    config = family.config | {"text_config": family.config["text_config"] | old}
    model = type(family.model)(type(family.model.config).from_dict(copy.deepcopy(config)))
    apply_plan(model, family.adapter, plan).save_pretrained(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    if not is_stock(plan):
        written = written["base_config"] | {"model_type": written["base_model_type"]}
    assert written["architectures"] == [family.adapter.model_class]
    text = written["text_config"]
    assert "their-language-model" not in json.dumps(text)
    same = text["model_type"] == family.config["text_config"].get("model_type", backbone)
    assert text["architectures"] == (["Mine"] if same else ["MistralForCausalLM"])


def test_generation_survives_the_cache_and_a_reload(family, plan, tmp_path):
    student = apply_plan(family.model, family.adapter, plan)
    prompt = _prompt(family)
    never = [2, 60, 61, 62, 63]  # the end, and tokens that stand for images
    settings = {"max_new_tokens": 5, "do_sample": False, "suppress_tokens": never}
    cached = student.generate(**prompt, **settings, use_cache=True)
    ids, extra = prompt["input_ids"], dict(prompt)
    for _ in range(5):  # greedy by hand: a full forward pass for every token
        extra["input_ids"], extra["attention_mask"] = ids, torch.ones_like(ids)
        if "mm_token_type_ids" in extra:
            extra["mm_token_type_ids"] = (ids == 63).int()
        logits = student(**extra).logits[:, -1]
        logits[:, never] = -torch.inf
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(cached, ids)
    student.save_pretrained(tmp_path / "out")
    stock = getattr(transformers, family.adapter.model_class)
    if is_stock(plan):
        loaded = stock.from_pretrained(tmp_path / "out")
        assert "auto_map" not in json.loads((tmp_path / "out" / "config.json").read_text())
    else:
        trusted = {"trust_remote_code": True}
        loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", **trusted)
        with pytest.raises(ValueError, match="trust_remote_code=True"):
            AutoModelForImageTextToText.from_pretrained(tmp_path / "out", trust_remote_code=False)
        with pytest.raises(Exception, match=r"differ in width.*trust_remote_code=True"):
            stock.from_pretrained(tmp_path / "out")
        assert family.adapter.matches(read_config(tmp_path / "out"))
    same_model(loaded, student, _inputs(family.batch))
    assert torch.equal(loaded.generate(**prompt, **settings), cached)


def test_students_of_any_width_train(family, random_scores):
    from peft import LoraConfig, inject_adapter_in_model

    shape = family.adapter.language_shape(family.config)
    plan = plan_pruning(random_scores(shape), shape, PruningSpec(**PLANS["global"]))
    student = apply_plan(family.model, family.adapter, plan)
    settings = LoraConfig(r=2, target_modules=family.adapter.lora_target_regex())
    inject_adapter_in_model(settings, student)
    student(**family.batch).loss.backward()
    trained = {n: p for n, p in student.named_parameters() if ".lora_B" in n}
    assert len(trained) == len(family.adapter.projections) * len(plan.layers)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.values())
